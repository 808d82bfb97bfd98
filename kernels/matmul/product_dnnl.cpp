// Matrix products by oneDNN; the only file that includes it. Version 3 changed how a primitive is described.
#include <algorithm>
#include <array>
#include <optional>

#include <oneapi/dnnl/dnnl.hpp>

#include "kernels/common/error.h"
#include "kernels/matmul/product.h"

namespace tessera {
namespace {

/// What a primitive is made for: extents, dtypes and strides, no addresses.
struct Key {
  std::array<int64_t, 2> a_shape, a_strides, b_strides, c_shape, c_strides;
  DType c_dtype;
  bool accumulate;

  explicit Key(const Product& product)
      : a_shape(product.a.shape),
        a_strides(product.a.strides),
        b_strides(product.b.strides),
        c_shape(product.c.shape),
        c_strides(product.c.strides),
        c_dtype(product.c.dtype),
        accumulate(product.accumulate) {}

  bool operator==(const Key&) const = default;

  size_t hash() const {
    uint64_t hash = static_cast<uint64_t>(c_dtype) * 2 + accumulate;
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

dnnl::matmul::primitive_desc describe(const Product& product) {
  const auto a = description_of(product.a.shape, product.a.strides, product.a.dtype);
  const auto b = description_of(product.b.shape, product.b.strides, product.b.dtype);
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

/// A compiled product with the descriptors of its operands, whose addresses change from call to call.
class CompiledProduct {
 public:
  explicit CompiledProduct(const Product& product) : CompiledProduct(describe(product)) {}

  size_t scratchpad_bytes() const { return scratchpad_.get_desc().get_size(); }

  void run(const Product& product, void* scratchpad, const dnnl::stream& stream) const {
    a_.set_data_handle(const_cast<void*>(product.a.data));
    b_.set_data_handle(const_cast<void*>(product.b.data));
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
  const auto& [a, b, c, accumulate] = product;
  const dnnl_status_t status =
      dnnl_sgemm(is_row_major(a) ? 'N' : 'T', is_row_major(b) ? 'N' : 'T', c.shape[0], c.shape[1], a.shape[1], 1.0f,
                 a.as<float>(), leading_dimension(a), b.as<float>(), leading_dimension(b), accumulate ? 1.0f : 0.0f,
                 c.as<float>(), std::max(c.strides[0], c.shape[1]));
  expect(status == dnnl_success, "matmul: oneDNN's sgemm failed with status {} for [{}, {}]·[{}, {}]",
         static_cast<int>(status), a.shape[0], a.shape[1], b.shape[0], b.shape[1]);
}

bool has_bf16_products() {
#ifdef __x86_64__
  static const bool has = __builtin_cpu_supports("avx512bf16");
  return has;
#else
  return false;
#endif
}

void multiply_bf16(const Product& product) {
  thread_local Cache cache;
  cache.run(product);
}

}  // namespace tessera
