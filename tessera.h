// Everything, in one include: the header of programs that use the installed package. `scripts/format` keeps the list.
#pragma once
