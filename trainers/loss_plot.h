// loss.svg: the training and validation curves of a run, drawn by the program. Colours follow the viewer's light or
// dark theme where it tells, and are readable on the plot's own background everywhere.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "trainers/report.h"

namespace tessera {

/// The plot as an SVG document. Losses that are not finite leave gaps; a loss that falls by more than an order of
/// magnitude gets a logarithmic axis.
std::string loss_plot(std::span<const StepReport> reports, const std::string& title);

/// Writes the plot to a file, as a whole or not at all.
void write_loss_plot(const std::filesystem::path& path, std::span<const StepReport> reports, const std::string& title);

}  // namespace tessera
