#include "framework/io/safetensors.h"

#include <array>
#include <cstring>

#include <gmock/gmock.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

/// A file image: the length of `header`, `header`, and `data_bytes` zero bytes.
std::string image(std::string_view header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file.append(header).append(data_bytes, '\0');
}

SafetensorsContent parse(const std::string& file) { return parse_safetensors(std::as_bytes(std::span(file)), "w"); }

std::string error_of(std::string_view header, size_t data_bytes) {
  return message_of([&] { parse(image(header, data_bytes)); });
}

template <class T, size_t N>
SafetensorsEntry entry(std::string name, DType dtype, std::vector<int64_t> shape, const std::array<T, N>& values) {
  return {
      .name = std::move(name), .dtype = dtype, .shape = std::move(shape), .bytes = std::as_bytes(std::span(values))};
}

TEST(Safetensors, ReadsWhatItWrote) {
  const TemporaryFolder folder;
  const auto path = folder / "m.safetensors";
  const std::array<float, 6> weights{1, 2, 3, 4, 5, -0.5f};
  const std::array<uint8_t, 3> odd{7, 8, 9};
  const std::array<double, 1> scalar{2.25};
  const std::array<uint16_t, 2> halves{0x3c00, 0xbc00};
  const std::array<bool, 2> mask{true, false};
  const std::array<float, 0> nothing{};
  write_safetensors(path,
                    {entry("odd", DType::u8, {3}, odd), entry("weights", DType::f32, {2, 3}, weights),
                     entry("scalar", DType::f64, {}, scalar), entry("halves", DType::bf16, {2, 1}, halves),
                     entry("mask", DType::boolean, {2}, mask), entry("nothing", DType::f32, {0, 4}, nothing)},
                    {{"format", "pt"}, {"note", "quote \" and é"}});

  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_THAT(file.metadata(), ElementsAre(Pair("format", "pt"), Pair("note", "quote \" and é")));
  ASSERT_EQ(file.entries().size(), 6u);
  for (const SafetensorsEntry& tensor : file.entries()) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % static_cast<uintptr_t>(size_of(tensor.dtype)), 0u)
        << tensor.name;
  }
  const SafetensorsEntry* read = file.find("weights");
  ASSERT_NE(read, nullptr);
  EXPECT_EQ(read->dtype, DType::f32);
  EXPECT_THAT(read->shape, ElementsAre(2, 3));
  EXPECT_EQ(std::memcmp(read->bytes.data(), weights.data(), sizeof(weights)), 0);
  EXPECT_THAT(file.find("scalar")->shape, IsEmpty());
  EXPECT_EQ(file.find("halves")->dtype, DType::bf16);
  EXPECT_EQ(static_cast<int>(file.find("odd")->bytes[2]), 9);
  EXPECT_EQ(file.find("mask")->bytes[0], std::byte{1});
  EXPECT_TRUE(file.find("nothing")->bytes.empty());
  EXPECT_EQ(file.find("none"), nullptr);
}

TEST(Safetensors, KeepsTheOrderOfOneDtype) {
  const TemporaryFolder folder;
  const std::array<float, 1> value{1};
  write_safetensors(folder / "m", {entry("z", DType::f32, {1}, value), entry("a", DType::f32, {1}, value)});
  const SafetensorsFile file = SafetensorsFile::open(folder / "m");
  EXPECT_EQ(file.entries()[0].name, "z");
  EXPECT_EQ(file.entries()[1].name, "a");
}

TEST(Safetensors, FetchesEachTensorWhenItsTurnComes) {
  const TemporaryFolder folder;
  std::array<int32_t, 2> staging{};
  int calls = 0;
  write_safetensors(folder / "m",
                    {{.name = "a", .dtype = DType::i32, .shape = {2}, .bytes = {}},
                     {.name = "b", .dtype = DType::i32, .shape = {2}, .bytes = {}}},
                    {}, [&](const SafetensorsEntry& wanted) {
                      staging.fill(wanted.name == "a" ? 1 : 2);
                      ++calls;
                      return std::as_bytes(std::span(staging));
                    });
  EXPECT_EQ(calls, 2);
  const SafetensorsFile file = SafetensorsFile::open(folder / "m");
  EXPECT_EQ(*reinterpret_cast<const int32_t*>(file.find("b")->bytes.data()), 2);
}

TEST(Safetensors, RefusesToWriteWhatItCouldNotRead) {
  const TemporaryFolder folder;
  const auto path = folder.write("m", "old");
  const std::array<float, 2> values{};
  const auto good = entry("a", DType::f32, {2}, values);
  EXPECT_THAT(message_of([&] { write_safetensors(path, {good, good}); }), HasSubstr("\"a\" is used twice"));
  EXPECT_THAT(message_of([&] { write_safetensors(path, {entry("a", DType::f32, {3}, values)}); }),
              HasSubstr("tensor \"a\" takes 12 bytes by its shape and dtype, but 8 came"));
  EXPECT_THAT(message_of([&] { write_safetensors(path, {entry("\xff", DType::f32, {2}, values)}); }),
              HasSubstr("not UTF-8"));
  EXPECT_THAT(message_of([&] { write_safetensors(path, {entry("__metadata__", DType::f32, {2}, values)}); }),
              HasSubstr("reserved"));
  EXPECT_EQ(read_all(path), "old");
}

TEST(Safetensors, AcceptsOrderAndPaddingOfOtherWriters) {
  const SafetensorsContent content = parse(image(
      R"({"b":{"data_offsets":[4,6],"shape":[1],"dtype":"F16"},"__metadata__":{},"a":{"dtype":"I32","shape":[],"data_offsets":[0,4]}}   )",
      6));
  ASSERT_EQ(content.entries.size(), 2u);
  EXPECT_EQ(content.entries[0].name, "a");
  EXPECT_EQ(content.entries[1].dtype, DType::f16);
  EXPECT_THAT(parse(image("{}", 0)).entries, IsEmpty());
}

TEST(Safetensors, ChecksTheHeaderLength) {
  EXPECT_THAT(message_of([] { parse("1234567"); }), HasSubstr("7 bytes are too few"));
  EXPECT_THAT(message_of([] { parse(std::string(7, '\xff') + "\x7f{}"); }),
              HasSubstr("exceeds the format's 100000000"));
  std::string truncated = image("{}", 0);
  truncated.pop_back();
  EXPECT_EQ(message_of([&] { parse(truncated); }),
            "w: the header takes 2 bytes, but only 1 follow; the file is truncated");
  EXPECT_THAT(error_of("", 0), HasSubstr("does not begin with '{'"));
  EXPECT_THAT(error_of("[1]", 0), HasSubstr("does not begin with '{'"));
}

TEST(Safetensors, RefusesBadJson) {
  EXPECT_EQ(error_of(R"({"a":)", 0),
            "w: its header is not valid JSON at byte 13; the file is damaged or no safetensors file");
  EXPECT_THAT(error_of(R"({"a":{}} x)", 0), HasSubstr("has no \"dtype\""));
  EXPECT_THAT(error_of("{} x", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("{\"\xff\":1}", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of(std::string_view("{}\0{}", 5), 0), HasSubstr("zero byte"));
  EXPECT_THAT(error_of("{" + std::string(100'000, '['), 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of(R"({"a":)" + std::string(100'000, '['), 0), HasSubstr("holds an array"));
}

TEST(Safetensors, RefusesWhatTheFormatHasNot) {
  EXPECT_THAT(error_of(R"({"a":1})", 0), HasSubstr("tensor \"a\" holds a number where the format has none"));
  EXPECT_THAT(error_of(R"({"a":null})", 0), HasSubstr("null"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[{}],"data_offsets":[0,0]}})", 0), HasSubstr("an object"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[[]],"data_offsets":[0,0]}})", 0), HasSubstr("an array"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,0]}})", 0), HasSubstr("a string"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[true],"data_offsets":[0,0]}})", 0), HasSubstr("a boolean"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":["F32"]}})", 0), HasSubstr("an array"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}})", 0), HasSubstr("holds -1"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,0]}})", 0), HasSubstr("holds 1.5"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,8]}})", 8), HasSubstr("3 data_offsets"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[]}})", 4), HasSubstr("tensor \"a\" has no \"data_offsets\""));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}})", 4),
              HasSubstr("unknown key \"x\""));
  EXPECT_THAT(error_of(R"({"__metadata__":{"k":1}})", 0), HasSubstr("__metadata__ holds a number"));
  EXPECT_THAT(error_of(R"({"__metadata__":"x"})", 0), HasSubstr("__metadata__ holds a string"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", 1),
              HasSubstr("tensor \"a\" has the dtype \"F8_E4M3\"; use one of F64, F32"));
}

TEST(Safetensors, RefusesDuplicateKeys) {
  const std::string tensor = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_THAT(error_of("{\"a\":" + tensor + ",\"a\":" + tensor + "}", 1), HasSubstr("the key \"a\" appears twice"));
  EXPECT_THAT(error_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
              HasSubstr("the key \"dtype\" appears twice"));
  EXPECT_THAT(error_of(R"({"__metadata__":{"k":"1","k":"2"}})", 0), HasSubstr("the key \"k\" appears twice"));
  EXPECT_THAT(error_of(R"({"__metadata__":{},"__metadata__":{}})", 0), HasSubstr("appears twice"));
}

TEST(Safetensors, RefusesHugeSizes) {
  const std::string begin = R"({"a":{"dtype":"F64","shape":)";
  EXPECT_THAT(error_of(begin + R"([9223372036854775808],"data_offsets":[0,8]}})", 8),
              HasSubstr("9223372036854775808, beyond 2^63 - 1"));
  EXPECT_THAT(error_of(begin + R"([18446744073709551616],"data_offsets":[0,8]}})", 8),
              HasSubstr("18446744073709551616"));
  EXPECT_THAT(error_of(begin + R"([4294967296,4294967296],"data_offsets":[0,0]}})", 0),
              HasSubstr("a shape of more than 2^63 - 1 bytes"));
  EXPECT_THAT(error_of(begin + R"([2305843009213693952],"data_offsets":[0,0]}})", 0), HasSubstr("more than 2^63 - 1"));
  EXPECT_THAT(error_of(begin + R"([0,9223372036854775807],"data_offsets":[0,0]}})", 0),
              HasSubstr("more than 2^63 - 1"));
  EXPECT_THAT(error_of(begin + R"([1],"data_offsets":[9223372036854775800,9223372036854775807]}})", 8),
              HasSubstr("takes 8 bytes by its shape, but its data_offsets are"));
  EXPECT_THAT(error_of(begin + R"([1],"data_offsets":[9223372036854775799,9223372036854775807]}})", 8),
              HasSubstr("truncated"));
}

TEST(Safetensors, RefusesOffsetsThatDoNotTileTheData) {
  const auto two = [](const char* first, const char* second) {
    return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + first +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
  };
  EXPECT_NO_THROW(parse(image(two("[4,8]", "[0,4]"), 8)));
  EXPECT_THAT(error_of(two("[0,4]", "[2,6]"), 6), HasSubstr("tensor \"b\" overlaps the one before it, at byte 2"));
  EXPECT_THAT(error_of(two("[0,4]", "[0,4]"), 4), HasSubstr("overlaps"));
  EXPECT_THAT(error_of(two("[0,4]", "[6,10]"), 10), HasSubstr("hole before tensor \"b\": bytes 4 to 6"));
  EXPECT_THAT(error_of(two("[1,5]", "[5,9]"), 9), HasSubstr("hole before tensor \"a\""));
  EXPECT_THAT(error_of(two("[0,4]", "[4,8]"), 9), HasSubstr("1 bytes after the last tensor"));
  EXPECT_EQ(error_of(two("[0,4]", "[4,8]"), 7),
            "w: tensor \"b\" ends at byte 8 of the data, of which there are 7; the file is truncated");
  EXPECT_THAT(error_of(two("[0,4]", "[8,4]"), 8),
              HasSubstr("takes 4 bytes by its shape, but its data_offsets are 8, 4"));
}

TEST(Safetensors, RefusesBooleansThatAreNeitherTrueNorFalse) {
  std::string file = image(R"({"m":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 2);
  EXPECT_NO_THROW(parse(file));
  file.back() = 2;
  EXPECT_THAT(message_of([&] { parse(file); }), HasSubstr("tensor \"m\" is boolean"));
}

TEST(Safetensors, EscapesAndShortensHostileNames) {
  const std::string message = error_of("{\"" + std::string(5000, 'x') + "\\n\":1}", 0);
  EXPECT_LT(message.size(), 300u);
  EXPECT_THAT(error_of(R"({"a\nb":1})", 0), HasSubstr(R"("a\nb")"));
}

}  // namespace
}  // namespace tessera
