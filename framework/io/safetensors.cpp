#include "framework/io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>
#include <utility>

#include <nlohmann/json.hpp>

#include "framework/io/atomic_file.h"
#include "kernels/common/error.h"

namespace tessera {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are read in place");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr uint64_t kMaxSize = std::numeric_limits<int64_t>::max();
constexpr std::array<std::pair<std::string_view, DType>, 9> kDTypes{{{"F64", DType::f64},
                                                                     {"F32", DType::f32},
                                                                     {"F16", DType::f16},
                                                                     {"BF16", DType::bf16},
                                                                     {"I64", DType::i64},
                                                                     {"I32", DType::i32},
                                                                     {"U16", DType::u16},
                                                                     {"U8", DType::u8},
                                                                     {"BOOL", DType::boolean}}};

std::string_view format_name(DType dtype) {
  return std::find_if(kDTypes.begin(), kDTypes.end(), [&](const auto& pair) { return pair.second == dtype; })->first;
}

/// A name out of a file, as a message may print it: quoted, control characters escaped, not endless.
struct Quoted {
  std::string_view name;
};

std::string to_string(Quoted quoted) {
  const std::string text = nlohmann::json(quoted.name).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return text.size() <= 200 ? text : text.substr(0, 150) + "…\"";
}

/// A tensor as its header entry describes it, before anything is checked.
struct Description {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape, offsets;
};

/// Takes the header in as the JSON parser meets it, and refuses the first thing that does not belong, so a hostile
/// header costs no more than its own size.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view file) : file_(file) {}

  std::vector<Description> tensors;
  SafetensorsMetadata metadata;

  bool start_object(size_t) {
    if (++depth_ > 2 || numbers_ != nullptr) refuse("an object");
    fields_.clear();
    return true;
  }
  bool end_object() {
    if (depth_-- == 2 && !in_metadata_) {
      for (const char* field : {"dtype", "shape", "data_offsets"}) {
        expect(fields_.contains(field), "{}: tensor {} has no \"{}\"", file_, Quoted{tensors.back().name}, field);
      }
      expect(tensors.back().offsets.size() == 2, "{}: tensor {} has {} data_offsets; two are wanted", file_,
             Quoted{tensors.back().name}, tensors.back().offsets.size());
    }
    return true;
  }
  bool key(std::string& key) {
    const bool fresh = (depth_ == 1 ? names_ : fields_).insert(key).second;
    expect(fresh, "{}: the key {} appears twice in the header", file_, Quoted{key});
    if (depth_ == 1) {
      in_metadata_ = key == "__metadata__";
      if (!in_metadata_) tensors.push_back({.name = key, .dtype = {}, .shape = {}, .offsets = {}});
    } else if (!in_metadata_) {
      const bool known = key == "dtype" || key == "shape" || key == "data_offsets";
      expect(known, "{}: tensor {} has the unknown key {}", file_, Quoted{tensors.back().name}, Quoted{key});
    }
    key_ = key;
    return true;
  }
  bool string(std::string& value) {
    if (depth_ != 2 || numbers_ != nullptr || (!in_metadata_ && key_ != "dtype")) refuse("a string");
    (in_metadata_ ? metadata[key_] : tensors.back().dtype) = std::move(value);
    return true;
  }
  bool start_array(size_t) {
    if (depth_ != 2 || in_metadata_ || key_ == "dtype" || numbers_ != nullptr) refuse("an array");
    numbers_ = key_ == "shape" ? &tensors.back().shape : &tensors.back().offsets;
    return true;
  }
  bool end_array() {
    numbers_ = nullptr;
    return true;
  }
  bool number_unsigned(uint64_t value) {
    if (numbers_ == nullptr) refuse("a number");
    expect(value <= kMaxSize, "{}: tensor {} has the size or offset {}, beyond 2^63 - 1", file_,
           Quoted{tensors.back().name}, value);
    numbers_->push_back(value);
    return true;
  }
  bool number_integer(int64_t value) { refuse(std::to_string(value)); }
  bool number_float(double, const std::string& text) { refuse(text); }
  bool boolean(bool) { refuse("a boolean"); }
  bool null() { refuse("null"); }
  bool binary(std::vector<uint8_t>&) { refuse("binary data"); }
  bool parse_error(size_t position, const std::string&, const std::exception&) {
    fail("{}: its header is not valid JSON at byte {}; the file is damaged or no safetensors file", file_,
         position + 7);  // the parser counts from one, the file from its 8-byte length
  }

 private:
  [[noreturn]] void refuse(const std::string& found) const {
    if (in_metadata_) fail("{}: __metadata__ holds {}; the format wants texts there", file_, found);
    if (tensors.empty()) fail("{}: the header holds {} where the format has none", file_, found);
    fail("{}: tensor {} holds {} where the format has none", file_, Quoted{tensors.back().name}, found);
  }

  std::string_view file_;
  int depth_ = 0;
  bool in_metadata_ = false;
  std::string key_;
  std::vector<uint64_t>* numbers_ = nullptr;
  std::unordered_set<std::string> names_, fields_;
};

/// Bytes of a tensor, refusing any product that leaves 63 bits, even behind an extent of 0.
uint64_t checked_bytes(const std::vector<uint64_t>& shape, DType dtype, std::string_view file,
                       const std::string& name) {
  uint64_t bytes = static_cast<uint64_t>(size_of(dtype));
  bool empty = false;
  for (const uint64_t extent : shape) {
    empty |= extent == 0;
    expect(extent <= kMaxSize / bytes, "{}: tensor {} has a shape of more than 2^63 - 1 bytes", file, Quoted{name});
    bytes *= std::max<uint64_t>(extent, 1);
  }
  return empty ? 0 : bytes;
}

SafetensorsEntry checked_entry(const Description& tensor, std::span<const std::byte> data, std::string_view file) {
  const auto known =
      std::find_if(kDTypes.begin(), kDTypes.end(), [&](auto& pair) { return pair.first == tensor.dtype; });
  expect(known != kDTypes.end(),
         "{}: tensor {} has the dtype {}; use one of F64, F32, F16, BF16, I64, I32, U16, U8, BOOL", file,
         Quoted{tensor.name}, Quoted{tensor.dtype});
  const uint64_t begin = tensor.offsets[0], end = tensor.offsets[1];
  const uint64_t wanted = checked_bytes(tensor.shape, known->second, file, tensor.name);
  expect(begin <= end && end - begin == wanted,
         "{}: tensor {} takes {} bytes by its shape, but its data_offsets are {}, {}", file, Quoted{tensor.name},
         wanted, begin, end);
  expect(end <= data.size(), "{}: tensor {} ends at byte {} of the data, of which there are {}; the file is truncated",
         file, Quoted{tensor.name}, end, data.size());
  const auto bytes = data.subspan(begin, wanted);
  if (known->second == DType::boolean) {
    const auto odd = std::find_if(bytes.begin(), bytes.end(), [](std::byte byte) { return byte > std::byte{1}; });
    expect(odd == bytes.end(), "{}: tensor {} is boolean and holds a value that is neither 0 nor 1", file,
           Quoted{tensor.name});
  }
  return {
      .name = tensor.name, .dtype = known->second, .shape = {tensor.shape.begin(), tensor.shape.end()}, .bytes = bytes};
}

/// The tensors tile the data: no overlap, no hole, nothing behind the last.
void expect_tiling(const std::vector<SafetensorsEntry>& entries, std::span<const std::byte> data,
                   std::string_view file) {
  size_t position = 0;
  for (const SafetensorsEntry& entry : entries) {
    const auto begin = static_cast<size_t>(entry.bytes.data() - data.data());
    expect(begin >= position, "{}: tensor {} overlaps the one before it, at byte {} of the data", file,
           Quoted{entry.name}, begin);
    expect(begin == position, "{}: the data has a hole before tensor {}: bytes {} to {} belong to no tensor", file,
           Quoted{entry.name}, position, begin);
    position = begin + entry.bytes.size();
  }
  expect(position == data.size(), "{}: {} bytes after the last tensor belong to no tensor", file,
         data.size() - position);
}

std::string header_of(const std::vector<SafetensorsEntry>& entries, const SafetensorsMetadata& metadata,
                      const std::string& file) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::unordered_set<std::string_view> names;
  int64_t position = 0;
  for (const SafetensorsEntry& entry : entries) {
    expect(names.insert(entry.name).second && entry.name != "__metadata__",
           "{}: cannot be written: the tensor name {} is used twice or reserved", file, Quoted{entry.name});
    const int64_t end = position + entry.elements() * size_of(entry.dtype);
    // Not through operator[], whose search for the key would make many tensors quadratic.
    header.get_ref<nlohmann::ordered_json::object_t&>().emplace_back(
        entry.name,
        nlohmann::ordered_json{
            {"dtype", format_name(entry.dtype)}, {"shape", entry.shape}, {"data_offsets", {position, end}}});
    position = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail("{}: cannot be written: a tensor name or metadata text is not UTF-8", file);
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  expect(text.size() <= kMaxHeaderBytes, "{}: cannot be written: a header of {} bytes exceeds the format's {}", file,
         text.size(), kMaxHeaderBytes);
  return text;
}

}  // namespace

int64_t SafetensorsEntry::elements() const {
  int64_t product = 1;
  for (const int64_t extent : shape) product *= extent;
  return product;
}

SafetensorsContent parse_safetensors(std::span<const std::byte> file, std::string_view name) {
  uint64_t length = 0;
  expect(file.size() >= sizeof(length), "{}: {} bytes are too few for a safetensors file", name, file.size());
  std::memcpy(&length, file.data(), sizeof(length));
  file = file.subspan(sizeof(length));
  expect(length <= kMaxHeaderBytes, "{}: a header of {} bytes exceeds the format's {}; this is no safetensors file",
         name, length, kMaxHeaderBytes);
  expect(length <= file.size(), "{}: the header takes {} bytes, but only {} follow; the file is truncated", name,
         length, file.size());
  const std::string_view header(reinterpret_cast<const char*>(file.data()), length);
  expect(header.starts_with('{'), "{}: the header does not begin with '{'; this is no safetensors file", name);

  // The JSON parser takes a zero byte for the end of its input, and would not see what stands behind it.
  expect(header.find('\0') == header.npos, "{}: the header holds a zero byte; the file is damaged", name);
  HeaderReader reader(name);
  nlohmann::json::sax_parse(header.begin(), header.end(), &reader);

  const auto data = file.subspan(length);
  SafetensorsContent content{.entries = {}, .metadata = std::move(reader.metadata)};
  std::stable_sort(reader.tensors.begin(), reader.tensors.end(),
                   [](const Description& a, const Description& b) { return a.offsets < b.offsets; });
  for (const Description& tensor : reader.tensors) content.entries.push_back(checked_entry(tensor, data, name));
  expect_tiling(content.entries, data, name);
  return content;
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile opened;
  opened.file_ = MappedFile::open(path);
  opened.content_ = parse_safetensors(opened.file_.bytes(), path.string());
  return opened;
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = std::find_if(entries().begin(), entries().end(), [&](auto& entry) { return entry.name == name; });
  return found == entries().end() ? nullptr : &*found;
}

void write_safetensors(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                       const SafetensorsMetadata& metadata, const FetchBytes& fetch) {
  std::stable_sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return size_of(a.dtype) > size_of(b.dtype);
  });
  const std::string header = header_of(entries, metadata, path.string());
  const uint64_t length = header.size();

  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  for (const SafetensorsEntry& entry : entries) {
    const auto bytes = fetch ? fetch(entry) : entry.bytes;
    expect(static_cast<int64_t>(bytes.size()) == entry.elements() * size_of(entry.dtype),
           "{}: cannot be written: tensor {} takes {} bytes by its shape and dtype, but {} came", path.string(),
           Quoted{entry.name}, entry.elements() * size_of(entry.dtype), bytes.size());
    file.write(bytes);
  }
  file.commit();
}

}  // namespace tessera
