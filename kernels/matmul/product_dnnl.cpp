// Matrix products by oneDNN; the only file that includes it. Version 3 changed how a primitive is described.
#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "kernels/common/error.h"
#include "kernels/matmul/product.h"

namespace tessera {
namespace {

/// What a primitive is made for: extents, dtypes and strides, no addresses.
struct Key {
  std::array<int64_t, 2> a_shape, a_strides, b_strides, c_shape, c_strides;
  DType c_dtype;
  bool accumulate, packed;

  explicit Key(const Product& product)
      : a_shape(product.a.shape),
        a_strides(product.a.strides),
        b_strides(product.b.strides),
        c_shape(product.c.shape),
        c_strides(product.c.strides),
        c_dtype(product.c.dtype),
        accumulate(product.accumulate),
        packed(product.packed_b != nullptr) {}

  bool operator==(const Key&) const = default;

  size_t hash() const {
    uint64_t hash = static_cast<uint64_t>(c_dtype) * 4 + accumulate * 2 + packed;
    for (const auto* pair : {&a_shape, &a_strides, &b_strides, &c_shape, &c_strides})
      for (const int64_t value : *pair) hash = (hash ^ static_cast<uint64_t>(value)) * 0x9E3779B97F4A7C15u;
    return hash >> 32;
  }
};

/// One CPU engine for the process, one stream for each thread.
const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::memory::desc description_of(const std::array<int64_t, 2>& shape, const std::array<int64_t, 2>& strides,
                                  DType dtype) {
  using Type = dnnl::memory::data_type;
  return {{shape[0], shape[1]}, dtype == DType::f32 ? Type::f32 : Type::bf16, {strides[0], strides[1]}};
}

dnnl::matmul::primitive_desc describe(const Product& product, const dnnl::memory::desc& b) {
  const auto a = description_of(product.a.shape, product.a.strides, product.a.dtype);
  const auto c = description_of(product.c.shape, product.c.strides, product.c.dtype);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // the library's own belongs to the thread that created
  if (product.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(engine(), a, b, c, attributes);
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attributes, engine());
#endif
}

/// False where the library has nothing but its reference loops for a product.
bool is_fast(const dnnl::matmul::primitive_desc& description) {
  return std::string_view(description.impl_info_str()).starts_with("brg");
}

dnnl::memory::desc description_of(const In<2>& x) { return description_of(x.shape, x.strides, x.dtype); }

/// The arrangement that the library prefers for a b of this shape, the same for all products: it must not depend on how
/// many rows of a meet it. That of b itself where its fast code does not take this b.
dnnl::memory::desc packed_description(const In<2>& b) {
  constexpr int64_t kRows = 128;
  const auto [inner, columns] = b.shape;
  const Product usual{.a = {nullptr, DType::bf16, {kRows, inner}, {inner, 1}},
                      .b = b,
                      .c = {nullptr, DType::bf16, {kRows, columns}, {columns, 1}},
                      .accumulate = false};
  const dnnl::memory::desc any({inner, columns}, dnnl::memory::data_type::bf16, dnnl::memory::format_tag::any);
  const auto chosen = describe(usual, any);
  return is_fast(chosen) ? chosen.weights_desc() : description_of(b);
}

/// With a packed b where that is fast for this product too.
dnnl::matmul::primitive_desc describe(const Product& product) {
  if (product.packed_b != nullptr) {
    auto packed = describe(product, packed_description(product.b));
    if (is_fast(packed)) return packed;
  }
  return describe(product, description_of(product.b));
}

/// b as it lies in memory, and as products want it.
class Packing {
 public:
  explicit Packing(const In<2>& b)
      : shape_(b.shape),
        strides_(b.strides),
        from_(description_of(b), engine(), nullptr),
        to_(packed_description(b), engine(), nullptr),
        reorder_(from_, to_) {}

  bool is_of(const In<2>& b) const { return b.shape == shape_ && b.strides == strides_; }

  int64_t bytes() const {
    return from_.get_desc() == to_.get_desc() ? 0 : static_cast<int64_t>(to_.get_desc().get_size());
  }

  void run(const void* from, void* to, dnnl::stream& stream) {
    from_.set_data_handle(const_cast<void*>(from));
    to_.set_data_handle(to);
    reorder_.execute(stream, from_, to_);
  }

 private:
  std::array<int64_t, 2> shape_, strides_;
  dnnl::memory from_, to_;
  dnnl::reorder reorder_;
};

/// The packing of b, one of the last that this thread used.
Packing& packing_of(const In<2>& b) {
  constexpr size_t kKept = 32;
  thread_local std::vector<Packing> kept;
  const auto found = std::find_if(kept.begin(), kept.end(), [&](const Packing& packing) { return packing.is_of(b); });
  if (found != kept.end()) return *found;
  if (kept.size() == kKept) kept.erase(kept.begin());
  return kept.emplace_back(b);
}

/// A compiled product with the descriptors of its operands, whose addresses change from call to call.
class CompiledProduct {
 public:
  explicit CompiledProduct(const Product& product) : CompiledProduct(describe(product)) {
    reads_packed_b_ = product.packed_b != nullptr && b_.get_desc() != description_of(product.b);
  }

  size_t scratchpad_bytes() const { return scratchpad_.get_desc().get_size(); }

  void run(const Product& product, void* scratchpad, const dnnl::stream& stream) const {
    a_.set_data_handle(const_cast<void*>(product.a.data));
    b_.set_data_handle(const_cast<void*>(reads_packed_b_ ? product.packed_b : product.b.data));
    c_.set_data_handle(product.c.data);
    scratchpad_.set_data_handle(scratchpad);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, a_.get()},
                                         {DNNL_ARG_WEIGHTS, b_.get()},
                                         {DNNL_ARG_DST, c_.get()},
                                         {DNNL_ARG_SCRATCHPAD, scratchpad_.get()}};
    dnnl::error::wrap_c_api(dnnl_primitive_execute(primitive_.get(), stream.get(), 4, arguments),
                            "matmul: oneDNN could not run a product");
  }

 private:
  explicit CompiledProduct(const dnnl::matmul::primitive_desc& description)
      : primitive_(description),
        a_(description.src_desc(), engine(), nullptr),
        b_(description.weights_desc(), engine(), nullptr),
        c_(description.dst_desc(), engine(), nullptr),
        scratchpad_(description.scratchpad_desc(), engine(), nullptr) {}

  dnnl::matmul primitive_;
  dnnl::memory a_, b_, c_, scratchpad_;
  bool reads_packed_b_ = false;
};

/// The products that this thread computed last. A key may lie in any of the four places of its set.
class Cache {
 public:
  void run(const Product& product) {
    const Key key(product);
    Entry* const set = &entries_[key.hash() % kSets * kWays];
    Entry* entry = std::find_if(set, set + kWays, [&](const Entry& e) { return e.compiled && *e.key == key; });
    if (entry == set + kWays) {
      entry = std::min_element(set, set + kWays, [](const Entry& x, const Entry& y) { return x.used < y.used; });
      entry->compiled.emplace(product);
      entry->key.emplace(key);
    }
    entry->used = ++clock_;
    entry->compiled->run(product, scratchpad(entry->compiled->scratchpad_bytes()), stream_);
  }

 private:
  static constexpr size_t kSets = 64;
  static constexpr size_t kWays = 4;

  struct Entry {
    std::optional<Key> key;
    std::optional<CompiledProduct> compiled;
    uint64_t used = 0;
  };

  /// One for all products, as large as the largest needs.
  void* scratchpad(size_t bytes) {
    if (bytes > scratchpad_bytes_) {
      const dnnl::memory::desc description({static_cast<int64_t>(bytes)}, dnnl::memory::data_type::u8, {1});
      scratchpad_ = dnnl::memory(description, engine());
      scratchpad_bytes_ = bytes;
    }
    return bytes > 0 ? scratchpad_.get_data_handle() : nullptr;
  }

  std::array<Entry, kSets * kWays> entries_;
  dnnl::memory scratchpad_;
  size_t scratchpad_bytes_ = 0;
  uint64_t clock_ = 0;
  dnnl::stream stream_{engine()};
};

}  // namespace

void multiply_f32(const Product& product) {
  const auto& [a, b, c, accumulate, packed_b] = product;
  const dnnl_status_t status =
      dnnl_sgemm(is_row_major(a) ? 'N' : 'T', is_row_major(b) ? 'N' : 'T', c.shape[0], c.shape[1], a.shape[1], 1.0f,
                 a.as<float>(), leading_dimension(a), b.as<float>(), leading_dimension(b), accumulate ? 1.0f : 0.0f,
                 c.as<float>(), std::max(c.strides[0], c.shape[1]));
  expect(status == dnnl_success, "matmul: oneDNN's sgemm failed with status {} for [{}, {}]·[{}, {}]",
         static_cast<int>(status), a.shape[0], a.shape[1], b.shape[0], b.shape[1]);
}

namespace {

/// DNNL_MAX_CPU_ISA may forbid the library what the CPU has; 0 is no limit.
[[maybe_unused]] bool library_may_use_bf16() {
  constexpr auto kBf16 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  const auto allowed = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  return allowed == 0 || (allowed & kBf16) == kBf16;
}

}  // namespace

bool has_bf16_products() {
#ifdef __x86_64__
  static const bool has = __builtin_cpu_supports("avx512bf16") && library_may_use_bf16();
  return has;
#else
  return false;
#endif
}

void multiply_bf16(const Product& product) {
  thread_local Cache cache;
  cache.run(product);
}

int64_t packed_bf16_bytes(const In<2>& b) { return packing_of(b).bytes(); }

void pack_bf16(const In<2>& b, void* memory) {
  thread_local dnnl::stream stream(engine());
  packing_of(b).run(b.data, memory, stream);
}

}  // namespace tessera
