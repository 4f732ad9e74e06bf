#include "gateway/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <sstream>

namespace dormouse::gateway {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr double us_per_second = 1e6;

double seconds(Duration took) {
  return static_cast<double>(took.count()) / us_per_second;
}

class Families {
 public:
  MetricFamily& family(const std::string& name, const std::string& help, MetricType type) {
    for (MetricFamily& each : all_) {
      if (each.name == name) return each;
    }
    all_.push_back({name, help, type, {}});
    return all_.back();
  }

  void counter(const std::string& name, const std::string& help, Labels labels,
               std::uint64_t value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = static_cast<double>(value);
    family(name, help, MetricType::Counter).metric.push_back(std::move(metric));
  }

  void gauge(const std::string& name, const std::string& help, Labels labels, double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.gauge.value = value;
    family(name, help, MetricType::Gauge).metric.push_back(std::move(metric));
  }

  void histogram(const std::string& name, const std::string& help, Labels labels,
                 const fleet::Histogram& from) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.histogram.sample_count = from.count;
    metric.histogram.sample_sum = seconds(from.sum);
    for (std::size_t i = 0; i < std::size(fleet::Histogram::bounds); ++i) {
      ClientMetric::Bucket bucket;
      bucket.cumulative_count = from.at_most[i];
      bucket.upper_bound = seconds(fleet::Histogram::bounds[i]);
      metric.histogram.bucket.push_back(bucket);
    }
    family(name, help, MetricType::Histogram).metric.push_back(std::move(metric));
  }

  std::string text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, all_);
    return out.str();
  }

 private:
  std::vector<MetricFamily> all_;
};

void add_status(Families& out, const std::string& function, const fleet::Status& status) {
  const auto instances = [&](const char* rung, std::int32_t count) {
    out.gauge("dormouse_instances", "Living instances by rung of the sleep ladder.",
              {{"function", function}, {"rung", rung}}, count);
  };
  instances("starting", status.starting);
  instances("awake", status.busy);
  instances("dozing", status.dozing);
  instances("stopping", status.stopping);
  out.gauge("dormouse_templates",
            "Whether what serves is loaded, and instances are forked from it.",
            {{"function", function}}, status.has_template ? 1 : 0);
  out.gauge("dormouse_queue_depth", "Invocations that wait for a slot.", {{"function", function}},
            status.queued);
  out.gauge("dormouse_invocations_running", "Invocations that run.", {{"function", function}},
            status.running);
  out.gauge("dormouse_instances_memory_bytes", "Memory that the instances' cgroups hold.",
            {{"function", function}}, static_cast<double>(status.memory_bytes));
}

void add_counters(Families& out, const std::string& function, const fleet::Counters& counters) {
  for (const auto& [outcome, count] : counters.outcomes) {
    out.counter("dormouse_invocations_total", "Invocations that ended, by outcome.",
                {{"function", function}, {"outcome", outcome}}, count);
  }
  const auto wake = [&](const char* phase, const fleet::Histogram& histogram) {
    out.histogram("dormouse_wake_seconds", "Waking an instance for an invocation, by phase.",
                  {{"function", function}, {"phase", phase}}, histogram);
  };
  wake("sandbox", counters.wake_sandbox);
  wake("code", counters.wake_code);
  wake("load", counters.wake_load);
  const auto tokens = [&](const char* kind, std::int64_t count) {
    if (!counters.tokens.any()) return;
    out.counter("dormouse_tokens_total", "Tokens of language models, by kind.",
                {{"function", function}, {"kind", kind}}, static_cast<std::uint64_t>(count));
  };
  tokens("prompt_read", counters.tokens.prompt_read);
  tokens("prompt_reused", counters.tokens.prompt_reused);
  tokens("generated", counters.tokens.generated);
  out.histogram("dormouse_queue_seconds", "From acceptance to dispatch, without waking.",
                {{"function", function}}, counters.queue);
  out.histogram("dormouse_run_seconds", "From dispatch to answer.", {{"function", function}},
                counters.run);
}

}  // namespace

std::string metrics_text(const fleet::Snapshot& fleet, const http::Counters& http) {
  Families out;
  for (const auto& [function, status] : fleet.functions) add_status(out, function, status);
  for (const auto& [function, counters] : fleet.counters) add_counters(out, function, counters);
  for (const auto& [runtime, count] : fleet.blanks) {
    out.gauge("dormouse_blank_sandboxes", "Initialised sandboxes that wait for a revision.",
              {{"runtime", runtime}}, count);
  }
  out.gauge("dormouse_loop_lag_max_seconds",
            "The longest that an event waited for the loop since the last scrape.", {},
            seconds(fleet.loop_lag_max));
  out.gauge("dormouse_http_connections", "Open connections.", {},
            static_cast<double>(http.connections_open));
  out.counter("dormouse_http_connections_total", "Connections that were accepted.", {},
              http.connections_total);
  out.counter("dormouse_http_requests_total", "Requests that were read.", {}, http.requests_total);
  out.counter("dormouse_http_refused_total", "Malformed, oversized or slow requests.", {},
              http.refused_total);
  return out.text();
}

}  // namespace dormouse::gateway
