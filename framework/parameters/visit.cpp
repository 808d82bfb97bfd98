#include "framework/parameters/visit.h"

namespace tessera::detail {

void Namer::name(const std::string& path, Parameter& parameter) {
  ParameterState* state = parameter.state().get();
  claim(path, state);
  if (named_.insert(state).second && state->arenas == 0) state->name = path;
}

void Namer::name(const std::string& path, Site& site) {
  claim(path, &site);
  site.hash = hash_path(path);
}

// Two parameters of one name would draw the same values and share one place in a checkpoint, two sites one mask.
void Namer::claim(const std::string& path, const void* member) {
  expect(!path.empty(), "name_members: a member of the model has an empty name; give it one in visit()");
  expect(members_.emplace(path, member).first->second == member,
         "name_members: two members of the model are named '{}'; give each a name of its own in visit()", path);
}

}  // namespace tessera::detail
