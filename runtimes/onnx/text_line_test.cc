// The task `text-line`: its pure parts as tables, and the example's own pictures through the
// example's own model.
#include "runtimes/onnx/text_line.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include "runtimes/onnx/worker_driver.h"

namespace dormouse::onnx {
namespace {

namespace fs = std::filesystem;

TEST(TextLine, ReadsTheLikeliestCharacters) {
  const auto keys = read_keys(as_bytes("a\nb\r\n"));
  ASSERT_TRUE(keys);
  EXPECT_EQ(*keys, (std::vector<std::string>{"", "a", "b", " "}));
  const struct {
    std::vector<std::size_t> steps;
    const char* text;
  } rows[] = {
      {{}, ""},          {{0, 0}, ""},          {{1, 1, 1}, "a"},
      {{1, 0, 1}, "aa"}, {{1, 2, 0, 1}, "aba"}, {{2, 3, 3, 1}, "b a"},
  };
  for (const auto& row : rows) {
    std::vector<float> values;
    for (const std::size_t step : row.steps) {
      for (std::size_t key = 0; key < 4; ++key) values.push_back(key == step ? 0.5f : 0.1f);
    }
    const std::int64_t shape[] = {1, static_cast<std::int64_t>(row.steps.size()), 4};
    const auto line = read_line(shape, values, *keys);
    ASSERT_TRUE(line) << line.error().message;
    EXPECT_EQ(line->text, row.text);
    EXPECT_NEAR(line->confidence, *row.text == '\0' ? 0 : 0.5, 1e-6);
  }
  const std::int64_t other[] = {1, 1, 5};
  EXPECT_FALSE(read_line(other, std::vector<float>(5), *keys));
}

TEST(TextLine, RefusesKeysThatAreNoText) {
  const struct {
    std::string file;
    const char* why;
  } rows[] = {
      {"a\nb\xff\n", "its line 2 is not UTF-8"},
      {std::string(1025, 'a'), "its line 1 is over 1024 bytes"},
      {std::string(100'001, '\n'), "it has more than 100000 lines"},
      // Nothing behind the last one that may be kept is looked at.
      {std::string(100'000, '\n') + "\xff", "it has more than 100000 lines"},
  };
  for (const auto& row : rows) {
    const auto keys = read_keys(as_bytes(row.file));
    ASSERT_FALSE(keys) << row.why;
    EXPECT_EQ(keys.error().code, Code::invalid_argument);
    EXPECT_EQ(keys.error().message, row.why);
  }
  EXPECT_EQ(read_keys(as_bytes(std::string(100'000, '\n')))->size(), 100'002u);
}

TEST(TextLine, IsNoneOfWhatIsNoNumber) {
  std::vector<float> values(12, 0.1f);
  values[6] = std::numeric_limits<float>::quiet_NaN();
  const std::int64_t shape[] = {1, 4, 3};
  const auto line = read_line(shape, values, {"", "a", " "});
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().code, Code::function_failed);
  EXPECT_EQ(line.error().message, "the model's answer for step 2 is not a number");
}

TEST(TextLine, KeepsTheShapeOfThePicture) {
  const struct {
    std::uint32_t width, height;
    std::int64_t input;
  } rows[] = {{480, 48, 480}, {960, 96, 480}, {10, 48, 320}, {1, 1, 320}, {16000, 10, 3200}};
  for (const auto& row : rows) {
    const std::vector<std::uint8_t> white(std::size_t{3} * row.width * row.height, 255);
    const auto [framing, form] = line_input({row.width, row.height});
    EXPECT_EQ(shape_of(form), (std::vector<std::int64_t>{1, 3, 48, row.input}));
    const auto values =
        picture_tensor({row.width, row.height, white}, framing, line_sampling, form);
    ASSERT_EQ(values.size(), static_cast<std::size_t>(3 * 48 * row.input));
    EXPECT_FLOAT_EQ(values.front(), 1);
    EXPECT_FLOAT_EQ(values.back(), row.input > framing.width ? 0 : 1);
  }
}

TEST(TextLine, IsReadByModelsThatTakeLinesAndGiveSteps) {
  using Shape = std::vector<std::int64_t>;
  using wire::DataType;
  const auto model = [](Shape input, Shape output, DataType type = DataType::fp32) {
    return wire::Signature{{{"x", type, std::move(input)}},
                           {{"y", DataType::fp32, std::move(output)}}};
  };
  const struct {
    wire::Signature model;
    std::size_t characters;
  } good[] = {
      {model({-1, 3, 48, -1}, {-1, -1, 97}), 97}, {model({1, 3, 48, -1}, {1, 40, 97}), 97},
      {model({-1, -1, -1, -1}, {-1, -1, -1}), 0}, {model({}, {}), 0},
      {model({-1, 3, 48, -1}, {-1, -1, 0}), 0},
  };
  for (const auto& row : good) {
    const auto characters = characters_of(row.model);
    ASSERT_TRUE(characters) << characters.error().message;
    EXPECT_EQ(*characters, row.characters);
  }
  const struct {
    wire::Signature model;
    const char* why;
  } bad[] = {
      {model({-1, 3, 32, -1}, {-1, -1, 97}),
       "\"x\" is FP32 [-1,3,32,-1]: text-line wants FP32 [1,3,"},
      {model({-1, 1, 48, -1}, {-1, -1, 97}), "\"x\""},
      {model({2, 3, 48, -1}, {2, -1, 97}), "\"x\""},
      {model({1, 3, 48, 320}, {1, 40, 97}),
       "[1,3,48,320]: text-line wants FP32 [1,3,48,width] of any"},
      {model({3, 48, -1}, {1, 40, 97}), "\"x\""},
      {model({1, 3, 48, -1}, {1, 40, 97}, DataType::fp16), "\"x\" is FP16"},
      {model({1, 3, 48, -1}, {40, 97}),
       "\"y\" is FP32 [40,97]: text-line wants FP32 [1,steps,char"},
      {model({1, 3, 48, -1}, {2, 40, 97}), "\"y\""},
      {{}, "text-line wants a model that makes one tensor of one tensor"},
  };
  for (const auto& row : bad) {
    const auto characters = characters_of(row.model);
    ASSERT_FALSE(characters) << row.why;
    EXPECT_EQ(characters.error().code, Code::invalid_argument);
    EXPECT_NE(characters.error().message.find(row.why), std::string::npos)
        << characters.error().message;
  }
}

TEST(TextLine, EscapesWhatJsonWants) {
  EXPECT_EQ(to_json({"say \"\\\n\x01 ü", 0.98765}),
            "{\"text\": \"say \\\"\\\\\\u000a\\u0001 ü\", \"confidence\": 0.9877}");
}

class Reading : public testing::Test {
 protected:
  Reading() {
    code_ = fs::temp_directory_path() / ("onnx_reading." + std::to_string(getpid()));
    fs::remove_all(code_);
    fs::copy(ONNX_TEXT_LINE, code_, fs::copy_options::recursive);
    for (const char* name : {"add.onnx", "columns.onnx"}) {
      fs::copy(fs::path(ONNX_TESTDATA) / name, code_ / name);
    }
    std::ofstream(code_ / "one.txt") << "a\n";
    std::ofstream(code_ / "few.txt") << "a\nb\n";
  }
  ~Reading() override { fs::remove_all(code_); }
  fs::path code_;
  const fs::path pictures_ = ONNX_EXAMPLE;
  const wire::Options options_ = {{"task", "text-line"}, {"task.keys", "keys.txt"}};
};

TEST_F(Reading, ReadsTheExamplesWithoutAnError) {
  WorkerDriver worker(code_);
  const auto ready = worker.load(options_);
  ASSERT_TRUE(ready) << ready.error().message;
  for (const char* name : {"sleeps", "invoice"}) {
    const std::string png = content(pictures_ / (std::string(name) + ".png"));
    std::string text = content(pictures_ / (std::string(name) + ".txt"));
    ASSERT_FALSE(text.empty());
    text.pop_back();
    const auto answer = worker.invoke_raw("image/png", png);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->content.content_type, "application/json");
    EXPECT_TRUE(answer->body.starts_with("{\"text\": \"" + text + "\", \"confidence\": 0.9"))
        << answer->body;
  }
}

// Damaged and foreign pictures are errors, and the next whole one is read.
TEST_F(Reading, BearsHostilePictures) {
  WorkerDriver worker(code_);
  ASSERT_TRUE(worker.load(options_));
  const std::string png = content(pictures_ / "sleeps.png");
  std::mt19937 random(11);
  const auto refused = [&](const std::string& type, const std::string& body, Code code) {
    const auto answer = worker.invoke_raw(type, body);
    ASSERT_FALSE(answer) << answer->body;
    EXPECT_EQ(answer.error().code, code) << answer.error().message;
  };
  refused("image/gif", "GIF89a", Code::unsupported);
  refused("application/json", "{}", Code::unsupported);
  refused("image/png", "GIF89a", Code::unsupported);
  refused("image/png", "", Code::unsupported);
  for (const std::string& begin : {std::string("\x89PNG\r\n\x1a\n"), std::string("\xff\xd8\xff"),
                                   std::string("RIFF\x10\0\0\0WEBPVP8 ", 16)}) {
    for (int round = 0; round < 10; ++round) {
      std::string garbage = begin;
      for (int i = 0; i < 200; ++i) garbage += static_cast<char>(random());
      refused("image/png", garbage, Code::invalid_argument);
    }
    refused("image/jpeg", begin, Code::invalid_argument);
  }
  for (std::size_t size = 8; size + 20 < png.size(); size += png.size() / 12) {
    refused("image/png", png.substr(0, size), Code::invalid_argument);
  }
  std::string huge = png;  // 2^31 - 1 pixels wide, with the checksum that goes with it unchanged.
  huge.replace(16, 4, "\x7f\xff\xff\xff");
  refused("image/png", huge, Code::invalid_argument);
  for (const char* type : {"image/png", "Image/PNG", "image/png ; name=a"}) {
    EXPECT_TRUE(worker.invoke_raw(type, png)) << type;
  }
}

TEST_F(Reading, SaysWhyATaskDoesNotLoad) {
  const struct {
    wire::Options options;
    const char* why;
  } rows[] = {
      {{{"task", "read-minds"}}, "there is no task \"read-minds\""},
      {{{"task", "text-line"}, {"task.kees", "keys.txt"}},
       "task_options: there is no option \"kees\"; text-line has keys"},
      {{{"task", "text-line"}, {"task.keys", "nothing.txt"}}, "keys: \"nothing.txt\""},
      {{{"task", "text-line"}, {"task.keys", "../../etc/passwd"}}, "\"..\""},
      {{{"task", "text-line"}, {"model", "add.onnx"}}, "text-line wants a model"},
      {{{"task", "text-line"}, {"task.keys", "few.txt"}},
       "task_options: keys: \"few.txt\" has 2 lines, which make 4 characters with blank and space, "
       "and the model tells 6625 apart"},
      {{{"task", "text-line"}, {"model", "columns.onnx"}, {"task.keys", "few.txt"}},
       "and the model tells 3 apart"},
  };
  for (const auto& row : rows) {
    WorkerDriver worker(code_);
    const auto ready = worker.load(row.options);
    ASSERT_FALSE(ready) << row.why;
    EXPECT_NE(ready.error().message.find(row.why), std::string::npos) << ready.error().message;
  }
}

// A template must not run its model: what only a run tells is found at deploy, and kept.
TEST_F(Reading, KeepsWhatDeployFound) {
  fs::create_directories(code_ / ".dormouse");
  const wire::Options options = {
      {"task", "text-line"}, {"model", "columns.onnx"}, {"task.keys", "one.txt"}};
  const auto prepared = WorkerDriver(code_, code_ / ".dormouse").prepare(options);
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->options.at("found.characters"), "3");
  wire::Options other = options;
  other["task.keys"] = "few.txt";
  other["found.characters"] = "4";
  EXPECT_TRUE(WorkerDriver(code_).load(other));  // It was believed.
  WorkerDriver worker(code_);
  ASSERT_TRUE(worker.load(options));
  EXPECT_TRUE(worker.invoke_raw("image/png", content(pictures_ / "sleeps.png")));
}

}  // namespace
}  // namespace dormouse::onnx
