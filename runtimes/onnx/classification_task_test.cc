// The task `image-classification` in a worker: the example's own pictures through its own model,
// and models whose classes are the channels of a picture, which testdata/make.py makes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtimes/onnx/worker_driver.h"

namespace dormouse::onnx {
namespace {

namespace fs = std::filesystem;

class Classifying : public testing::Test {
 protected:
  Classifying() {
    code_ = fs::temp_directory_path() / ("onnx_classifying." + std::to_string(getpid()));
    fs::remove_all(code_);
    fs::copy(digits_, code_, fs::copy_options::recursive);
    for (const char* name : {"channels.onnx", "channels_last.onnx", "channels_uint8.onnx",
                             "channels_half.onnx", "matmul.onnx", "picky.onnx", "add.onnx"}) {
      fs::copy(fs::path(ONNX_TESTDATA) / name, code_ / name);
    }
    std::ofstream(code_ / "three.txt") << "\xef\xbb\xbfred\r\ngreen\r\nblue\r\n";
  }
  ~Classifying() override { fs::remove_all(code_); }

  static wire::Options task(wire::Options more) {
    more["task"] = "image-classification";
    return more;
  }
  // What it says of one of the example's pictures; or why it does not load, or not answer.
  std::string said(const wire::Options& options, const std::string& picture = "four.png") {
    WorkerDriver worker(code_);
    const auto ready = worker.load(task(options));
    if (!ready) return ready.error().message;
    note_ = ready->notes.contains("task") ? ready->notes.at("task") : "";
    const auto answer = worker.invoke_raw("image/png", content(code_ / picture));
    return answer ? answer->body : answer.error().message;
  }

  const fs::path digits_ = ONNX_DIGITS;
  fs::path code_;
  std::string note_;
};

TEST_F(Classifying, TellsTheExamplesDigits) {
  for (const auto& [picture, label] :
       {std::pair{"four.png", R"({"label": "four", "index": 4, "score": 0.9)"},
        std::pair{"seven.png", R"({"label": "seven", "index": 7, "score": 0.9)"},
        std::pair{"drawn.png", R"({"label": "three", "index": 3, "score": 0.9)"}}) {
    const std::string answer = said({{"task.labels", "labels.txt"}, {"task.top_k", "2"}}, picture);
    EXPECT_TRUE(answer.starts_with("{\"labels\": [" + std::string(label))) << answer;
  }
  EXPECT_EQ(note_, "10 classes of 8x8 grey pictures, activation softmax");
  EXPECT_TRUE(said({}).starts_with(R"({"labels": [{"label": "4", "index": 4)"));
}

TEST_F(Classifying, FindsWhatTheModelGivesAndTakesWhatIsSaid) {
  const wire::Options dynamic = {{"model", "channels.onnx"}, {"task.size", "4"}};
  const auto with = [&](wire::Options more) {
    more.insert(dynamic.begin(), dynamic.end());
    return more;
  };
  // four.png is grey: the classes are equal, and come in their order.
  const std::string third = R"({"labels": [{"label": "red", "index": 0, "score": 0.333333}, )"
                            R"({"label": "green", "index": 1, "score": 0.333333}, )"
                            R"({"label": "blue", "index": 2, "score": 0.333333}]})";
  EXPECT_EQ(said(with({{"task.output", "means"}, {"task.labels", "three.txt"}})), third);
  EXPECT_EQ(note_, "3 classes of 4x4 RGB pictures, activation softmax");
  EXPECT_EQ(said(with({{"task.output", "shares"}, {"task.labels", "three.txt"}})), third);
  EXPECT_EQ(note_, "3 classes of 4x4 RGB pictures, activation none");
  // Only the second channel is not turned over.
  const auto turned = said(with({{"task.output", "means"},
                                 {"task.mean", "1, 0, 1"},
                                 {"task.std", "-1, 1, -1"},
                                 {"task.activation", "none"},
                                 {"task.top_k", "1"},
                                 {"task.channel_order", "bgr"}}));
  EXPECT_TRUE(turned.starts_with(R"({"labels": [{"label": "0", "index": 0, "score": 0.)"))
      << turned;
  EXPECT_EQ(note_, "3 classes of 4x4 BGR pictures, activation none");
  const auto one = said(with({{"task.output", "one"}, {"task.activation", "sigmoid"}}));
  EXPECT_TRUE(one.starts_with(R"({"labels": [{"label": "0", "index": 0, "score": 0.5)")) << one;
  const auto last = said({{"model", "channels_last.onnx"}, {"task.mean", "-1, 0, 0"}});
  EXPECT_TRUE(last.starts_with(R"({"labels": [{"label": "0", "index": 0, "score": 0.57611)"))
      << last;
  EXPECT_EQ(note_, "3 classes of 6x4 RGB pictures, activation softmax");
}

// The mean of a picture is the same in numbers of every type: 0 to 255 as whole ones.
TEST_F(Classifying, SpeaksToModelsOfOtherTypes) {
  const wire::Options raw = {{"task.activation", "none"}, {"task.top_k", "1"}};
  const auto mean_of = [&](const std::string& model, wire::Options more) {
    more.insert(raw.begin(), raw.end());
    more["model"] = model;
    const std::string answer = said(more);
    const auto at = answer.find("\"score\": ");
    EXPECT_NE(at, answer.npos) << answer;
    return at == answer.npos ? 0 : std::stod(answer.substr(at + 9));
  };
  const double mean = mean_of("channels_last.onnx", {});
  EXPECT_GT(mean, 0.1);
  EXPECT_NEAR(mean_of("channels_half.onnx", {}), mean, 0.001);
  EXPECT_NEAR(mean_of("channels_uint8.onnx", {}), mean * 255, 0.5);
}

// A template must not run its model: what only a run tells is found at deploy, and kept.
TEST_F(Classifying, KeepsWhatDeployFound) {
  fs::create_directories(code_ / ".dormouse");
  WorkerDriver worker(code_, code_ / ".dormouse");
  const auto prepared = worker.prepare(task({}));
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->options.at("found.classes"), "10");
  EXPECT_EQ(prepared->options.at("found.probabilities"), "no");
  said({{"found.classes", "10"}, {"found.probabilities", "yes"}});
  EXPECT_EQ(note_, "10 classes of 8x8 grey pictures, activation none");  // It was believed.
  for (const char* damaged : {"0", "", "ten"}) {
    said({{"found.classes", damaged}, {"found.probabilities", "yes"}});
    EXPECT_EQ(note_, "10 classes of 8x8 grey pictures, activation softmax") << damaged;
  }
  const auto refused =
      WorkerDriver(code_, code_ / ".dormouse").prepare(task({{"task.top_k", "0"}}));
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().message.starts_with("task_options: top_k"))
      << refused.error().message;
}

TEST_F(Classifying, SaysWhyItDoesNotLoad) {
  std::ofstream(code_ / "two.txt") << "a\nb\n";
  std::ofstream(code_ / "binary.txt") << "\xff\xfe"
                                         "a";
  const struct {
    wire::Options options;
    const char* why;
  } rows[] = {
      {{{"task.lables", "a"}}, "task_options: there is no option \"lables\""},
      {{{"task.labels", "none.txt"}}, "task_options: labels: \"none.txt\""},
      {{{"task.labels", "../../etc/passwd"}}, "\"..\""},
      {{{"task.labels", "binary.txt"}}, "labels: \"binary.txt\": its line 1 is not UTF-8"},
      {{{"task.labels", "two.txt"}},
       "labels: \"two.txt\" has 2 lines, and the model tells 10 classes apart"},
      {{{"task.mean", "red"}}, "task_options: mean: \"red\" is not allowed"},
      {{{"task.mean", "1,2,3"}}, "task_options: mean: 3 numbers, and the model takes 1 channel"},
      {{{"task.size", "9"}}, "task_options: size: the model takes pictures of one size"},
      {{{"model", "matmul.onnx"}}, "FP32 [1,4], which is no picture"},
      {{{"model", "add.onnx"}}, "the model takes 2 inputs (a, b)"},
      {{{"model", "channels.onnx"}}, "size is missing"},
      {{{"model", "channels.onnx"}, {"task.size", "4"}}, "output is missing"},
      {{{"model", "channels.onnx"}, {"task.size", "4"}, {"task.output", "all"}},
       "\"all\" came as FP32 [1,3,4,4], which is no list of classes"},
      {{{"model", "channels.onnx"}, {"task.size", "4"}, {"task.output", "one"}},
       "activation is missing: the model gives one number"},
      {{{"model", "channels.onnx"},
        {"task.size", "4"},
        {"task.output", "one"},
        {"task.activation", "softmax"}},
       "activation: softmax of one number is always 1"},
  };
  for (const auto& row : rows) {
    const std::string why = said(row.options);
    EXPECT_NE(why.find(row.why), std::string::npos) << row.why << ": " << why;
  }
}

// The picture was one: what the model makes of the tensor is nothing that a caller could mend.
TEST_F(Classifying, BlamesTheModelIfItDoesNotTakeThePictureItAskedFor) {
  WorkerDriver worker(code_);
  ASSERT_TRUE(worker.load(task({{"model", "picky.onnx"}, {"task.mean", "1"}, {"task.std", "-1"}})));
  const auto answer = worker.invoke_raw("image/png", content(code_ / "four.png"));
  ASSERT_FALSE(answer) << answer->body;
  EXPECT_EQ(answer.error().code, Code::function_failed) << answer.error().message;
  EXPECT_NE(answer.error().message.find("running the model"), std::string::npos)
      << answer.error().message;
}

TEST_F(Classifying, BlamesTheModelForWhatIsNoNumber) {
  EXPECT_EQ(said({{"model", "channels.onnx"}, {"task.size", "4"}, {"task.output", "roots"}}),
            "the model's answer for class 0 is not a number");
}

}  // namespace
}  // namespace dormouse::onnx
