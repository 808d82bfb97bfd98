#include "framework/io/checkpoint_folders.h"

#include <algorithm>
#include <string_view>
#include <system_error>

#include "framework/io/atomic_file.h"
#include "framework/io/file.h"
#include "kernels/common/error.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPartial = ".partial", kOld = ".old";

fs::path hidden(const fs::path& checkpoint, std::string_view suffix) {
  return checkpoint.parent_path() / ("." + checkpoint.filename().string() + std::string(suffix));
}

bool is_complete(const fs::path& checkpoint) {
  std::error_code ignored;
  return fs::exists(checkpoint / "COMPLETE", ignored);
}

void discard(const fs::path& folder) {
  std::error_code ignored;
  fs::remove(folder / "COMPLETE", ignored);  // first, so that a half-removed one never counts
  fs::remove_all(folder, ignored);
}

// Hidden folders .step_…`suffix` of a run folder.
std::vector<fs::path> hidden_folders(const fs::path& run, std::string_view suffix) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(run, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(".step_") && name.ends_with(suffix) && entry.is_directory(ignored)) {
      found.push_back(entry.path());
    }
  }
  return found;
}

// A whole checkpoint whose process died between two renames comes back; anything else was on its way in or out.
void recover(const fs::path& folder, std::string_view suffix) {
  const std::string name = folder.filename().string();
  const fs::path checkpoint = folder.parent_path() / name.substr(1, name.size() - 1 - suffix.size());
  std::error_code ignored;
  if (!is_complete(folder) || is_complete(checkpoint)) discard(folder);
  else if (!fs::exists(checkpoint, ignored)) fs::rename(folder, checkpoint, ignored);
}

// Its content may be that of no other folder, so it is kept.
std::string move_aside(const fs::path& folder) {
  fs::path aside = folder.string() + ".copy";
  for (int i = 2; fs::exists(aside); ++i) aside = folder.string() + ".copy" + std::to_string(i);
  std::error_code error;
  fs::rename(folder, aside, error);
  if (error) return {};  // the next checkpoint's error will name it
  return folder.string() + " was a folder, as copying with links followed makes it, and is now " + aside.string() +
         "; remove that if it is of no use";
}

}  // namespace

fs::path checkpoint_path(const fs::path& run, int64_t iteration) {
  const std::string digits = std::to_string(iteration);
  return run / ("step_" + std::string(8 - std::min<size_t>(8, digits.size()), '0') + digits);
}

fs::path partial_path(const fs::path& checkpoint) { return hidden(checkpoint, kPartial); }

std::vector<fs::path> complete_checkpoints(const fs::path& run) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(run, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step_") && !entry.is_symlink() && is_complete(entry.path())) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {
    const std::string x = a.filename().string();
    const std::string y = b.filename().string();
    return x.size() != y.size() ? x.size() < y.size() : x < y;
  });
  return found;
}

void put_in_place(const fs::path& checkpoint) {
  const fs::path old = hidden(checkpoint, kOld);
  discard(old);
  if (fs::exists(checkpoint)) fs::rename(checkpoint, old);
  fs::rename(partial_path(checkpoint), checkpoint);
  sync_folder(checkpoint.parent_path());
  discard(old);
}

void point_latest_to(const fs::path& checkpoint) {
  const fs::path run = checkpoint.parent_path(), link = run / "latest", fresh = run / ".latest.partial";
  std::error_code error;
  fs::remove(fresh, error);
  fs::create_directory_symlink(checkpoint.filename(), fresh, error);
  if (!error) fs::rename(fresh, link, error);
  expect(!error, "{}: this link cannot be set: {}; move what is there away ({} is whole)", link.string(),
         error.message(), checkpoint.string());
  sync_folder(run);
}

void remove_checkpoint(const fs::path& checkpoint) {
  const fs::path old = hidden(checkpoint, kOld);
  discard(old);
  std::error_code error;
  fs::rename(checkpoint, old, error);
  if (!error) discard(old);
}

std::vector<std::string> recover_checkpoints(const fs::path& run) {
  for (const std::string_view suffix : {kPartial, kOld}) {
    for (const fs::path& folder : hidden_folders(run, suffix)) recover(folder, suffix);
  }
  const fs::path latest = run / "latest";
  std::error_code ignored;
  const bool copied = fs::is_directory(fs::symlink_status(latest, ignored));
  const std::string notice = copied ? move_aside(latest) : "";
  return notice.empty() ? std::vector<std::string>() : std::vector{notice};
}

}  // namespace tessera
