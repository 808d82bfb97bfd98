#include "framework/autograd/gradcheck.h"

#include <cmath>

#include "framework/tensor/random.h"

namespace tessera {
namespace {

// The scalar ⟨weights, value⟩, in long double so that the difference of two of them keeps its digits.
double weighted_sum(const Tensor& value, const std::vector<double>& weights) {
  const std::vector<double> elements = value.to_vector<double>();
  long double sum = 0;
  for (size_t i = 0; i < elements.size(); ++i) sum += static_cast<long double>(weights[i]) * elements[i];
  return static_cast<double>(sum);
}

// Central differences with one Richardson step: the error is of fourth order in the step.
double numerical_derivative(const std::function<double()>& evaluate, double& x, double step) {
  const double x0 = x;
  const auto slope = [&](double h) {
    x = x0 + h;
    const double above = evaluate();
    x = x0 - h;
    const double below = evaluate();
    x = x0;
    return (above - below) / (2 * h);
  };
  return (4 * slope(step) - slope(2 * step)) / 3;
}

void check_point(const std::string& what, const Tensor& point) {
  expect(point.dtype() == DType::f64 && point.device().is_cpu() && point.contiguous(),
         "gradcheck: {} is {} {}; it must be contiguous float64 on the CPU, as to(DType::f64) makes it", what,
         point.dtype(), point.shape());
}

GradcheckResult compare(const std::string& what, const Tensor& point, const Tensor& analytic,
                        const std::function<double()>& evaluate, const GradcheckOptions& options) {
  const std::vector<double> gradient =
      analytic.defined() ? analytic.to_vector<double>() : std::vector<double>(static_cast<size_t>(point.numel()), 0.0);
  auto* x = point.data<double>();
  for (int64_t i = 0; i < point.numel(); ++i) {
    const double a = gradient[static_cast<size_t>(i)];
    const double n = numerical_derivative(evaluate, x[i], options.step * std::max(1.0, std::abs(x[i])));
    const double rounding = 4e-16 * (1 + std::abs(evaluate())) / options.step;
    const double allowed =
        options.absolute_tolerance + options.relative_tolerance * std::max(std::abs(a), std::abs(n)) + rounding;
    if (!std::isfinite(allowed) || !(std::abs(a - n) <= allowed)) {  // an infinite gradient would allow anything
      return {false, format_message("gradcheck: {}, element {}: backward says {}, the difference quotient {}",
                                    {what, i, a, n})};
    }
  }
  return {};
}

}  // namespace

GradcheckResult gradcheck(const std::function<Variable(std::span<const Variable>)>& function,
                          std::span<const Tensor> inputs, const GradcheckOptions& options) {
  const auto name = [](size_t i) { return "input " + std::to_string(i); };
  for (size_t i = 0; i < inputs.size(); ++i) check_point(name(i), inputs[i]);
  const auto run = [&](const Pass& pass) {
    std::vector<Variable> leaves;
    for (const Tensor& input : inputs) leaves.push_back(pass.is_recording() ? pass.leaf(input) : pass.input(input));
    Variable y = function(leaves);
    return std::pair(std::move(y), std::move(leaves));
  };
  const Pass pass = Pass::recording(options.pass);
  const auto [y, leaves] = run(pass);
  const Tensor weights = random_normal(y.shape(), 17, DType::f64);
  const std::vector<double> weight_list = weights.to_vector<double>();
  backward(y, weights);
  for (size_t i = 0; i < leaves.size(); ++i) {
    const auto evaluate = [&] { return weighted_sum(run(pass.without_tape()).first.value(), weight_list); };
    GradcheckResult result = compare(name(i), inputs[i], leaves[i].gradient(), evaluate, options);
    if (!result.ok) return result;
  }
  return {};
}

GradcheckResult gradcheck(const std::function<Variable(const Pass&)>& function,
                          std::span<const ParameterPtr> parameters, const GradcheckOptions& options) {
  const auto name = [](const ParameterPtr& parameter) { return "parameter '" + parameter->name + "'"; };
  for (const ParameterPtr& parameter : parameters) {
    check_point(name(parameter), parameter->value);
    parameter->gradient_written = false;
  }
  const Pass pass = Pass::recording(options.pass);
  const Variable y = function(pass);
  const Tensor weights = random_normal(y.shape(), 17, DType::f64);
  const std::vector<double> weight_list = weights.to_vector<double>();
  backward(y, weights);
  for (const ParameterPtr& parameter : parameters) {
    const auto evaluate = [&] { return weighted_sum(function(pass.without_tape()).value(), weight_list); };
    const Tensor gradient = parameter->gradient_written ? parameter->gradient : Tensor();
    GradcheckResult result = compare(name(parameter), parameter->value, gradient, evaluate, options);
    if (!result.ok) return result;
  }
  return {};
}

}  // namespace tessera
