#include "trainers/run_folder.h"

#include "framework/error.h"
#include "framework/io/atomic_file.h"
#include "framework/io/checkpoint.h"
#include "framework/io/checkpoint_folders.h"
#include "framework/io/file.h"
#include "trainers/config/describe.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

// What repeats the whole run, also where this start continued it.
LoadedConfig from_scratch(LoadedConfig loaded) {
  loaded.config.init_from = Config::InitFrom::scratch;
  loaded.origins.erase("init_from");
  return loaded;
}

}  // namespace

RunFolder::RunFolder(const LoadedConfig& loaded)
    : path_(loaded.config.out_dir),
      resumes_(loaded.config.init_from == Config::InitFrom::resume),
      config_text_(effective_config(from_scratch(loaded))) {}

std::vector<std::string> RunFolder::open() {
  if (!resumes_) make();
  take_lock();
  std::vector<std::string> notices = recover_checkpoints(path_);
  const bool saved = CheckpointStore(path_, 0).latest().has_value();
  expect(saved || !resumes_,
         "out_dir {}: it holds no complete checkpoint to resume from; start with --init_from=scratch", path_.string());
  expect(!saved || resumes_,
         "out_dir {}: it holds a checkpoint; continue it with --init_from=resume or choose another folder with "
         "--out_dir=…",
         path_.string());
  return notices;
}

void RunFolder::make() {
  std::error_code error;
  fs::create_directories(path_, error);
  expect(!error, "out_dir {}: the folder cannot be made: {}; choose another with --out_dir=…", path_.string(),
         error.message());
}

void RunFolder::take_lock() {
  lock_.emplace(path_ / ".lock");
  expect(!lock_->taken(),
         "out_dir {}: another training is writing to this folder; wait for its end, stop it, or choose another folder "
         "with --out_dir=…",
         path_.string());
}

void RunFolder::write_config() const { write_file(path_ / "config.cfg", config_text_); }

bool RunFolder::stands() const {
  std::error_code ignored;
  return lock_->in_place() && fs::exists(path_ / "config.cfg", ignored);
}

void RunFolder::restore() {
  make();
  take_lock();
  const fs::path config = path_ / "config.cfg";
  expect(!fs::exists(config) || read_file(config) == config_text_,
         "out_dir {}: while this training ran, another run took the folder's place; go on in a folder of its own with "
         "--out_dir=…",
         path_.string());
  write_config();
}

}  // namespace tessera
