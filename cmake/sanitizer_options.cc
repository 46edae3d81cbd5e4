// Linked into every sanitized program. clang's sanitizers look for a tool of LLVM to put names to the stacks
// in their reports; binutils', which is there with g++, does as well. What the environment says goes first.
extern "C" {
const char* __asan_default_options();
const char* __ubsan_default_options();

const char* __asan_default_options() { return "external_symbolizer_path=/usr/bin/addr2line"; }
const char* __ubsan_default_options() { return __asan_default_options(); }
}
