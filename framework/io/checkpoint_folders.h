// The folders of a run's checkpoints: their names, which of them are whole, and how they are put in place and removed
// so that a kill at any moment loses none and leaves nothing behind for good.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tessera {

/// `run`/step_00000300.
std::filesystem::path checkpoint_path(const std::filesystem::path& run, int64_t iteration);
/// Where it is written before it is put in place: `run`/.step_00000300.partial.
std::filesystem::path partial_path(const std::filesystem::path& checkpoint);

/// The complete checkpoints of a run folder, oldest first.
std::vector<std::filesystem::path> complete_checkpoints(const std::filesystem::path& run);

/// Renames `partial_path(checkpoint)`, which is complete, to `checkpoint`, where an older one of the same iteration may
/// be: saved before a resume from an earlier step.
void put_in_place(const std::filesystem::path& checkpoint);
/// Lets the link `latest` beside `checkpoint` point to it.
void point_latest_to(const std::filesystem::path& checkpoint);
/// Hides the checkpoint under another name first: half of one never passes for a checkpoint.
void remove_checkpoint(const std::filesystem::path& checkpoint);

/// Puts a run folder in order that no process writes to: finishes or removes what a killed one left half done, and
/// moves a folder `latest`, which copying with links followed makes of the link, aside. Returns notices.
std::vector<std::string> recover_checkpoints(const std::filesystem::path& run);

}  // namespace tessera
