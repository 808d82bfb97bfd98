// Text to train on, mapped from one file or many.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "framework/io/mapped_file.h"

namespace tessera {

/// What a source names: the files in the order in which they are read, and one sentence about each kind of file that
/// was left out.
struct FileList {
  std::vector<std::filesystem::path> paths;
  std::vector<std::string> notices;
};

/// A file, a glob (`*`, `?`, `[…]`) or a folder. A glob gives its matching files in byte order of their names, each
/// file once, even if links repeat it. A folder gives its regular files in that order: no links, no hidden files, not
/// the files of folders inside. Errors: nothing there, or nothing left.
FileList list_files(const std::string& source);

/// Text files, in order.
struct Text {
  std::vector<MappedFile> files;
  std::vector<std::string> notices;

  /// The content of each file, without a byte order mark.
  std::vector<std::string_view> parts() const;
};

/// What counts as text: UTF-8 without zero bytes, or (for the byte tokenizer) anything in a file that was named itself.
enum class TextRule { utf8, any_bytes };

/// The text without the byte order mark that some editors put at its start.
std::string_view without_mark(std::string_view text);

/// Maps the files of a source. In a glob or a folder, files that are not text are left out and named in the notices; a
/// single file that is not text is an error with the offset of the first bad byte. Errors: those of list_files, no text
/// among the files, nothing but empty files.
Text read_text(const std::string& source, TextRule rule = TextRule::utf8);

}  // namespace tessera
