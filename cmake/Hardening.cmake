# Line tables, which a backtrace needs, and no more: core dumps are off, and the rest doubles what compiling takes.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")

# Debian's libraries are made with g++ 12, which names some templates as clang 17 does.
add_compile_options($<$<CXX_COMPILER_ID:Clang>:-fclang-abi-compat=17>)

# What every target of ours is compiled with. Generated code (proto/) takes only the parts that
# change code generation, not the warnings: see Targets.cmake.
if(CRYPTVOL_SANITIZE)
  add_compile_options(-fsanitize=${CRYPTVOL_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_compile_options($<$<CONFIG:Debug>:-g1>)  # enough for the stacks in a report
  if(CRYPTVOL_FUZZ)
    add_compile_options(-O1)  # a better optimiser gains nothing beside the checks
  endif()
  add_link_options(-fsanitize=${CRYPTVOL_SANITIZE})
else()
  add_compile_options(-fstack-protector-strong -fstack-clash-protection -fcf-protection)
  add_compile_options($<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
  add_link_options(-Wl,-z,relro -Wl,-z,now)
endif()
set(CMAKE_EXE_LINKER_FLAGS "${CMAKE_EXE_LINKER_FLAGS} -Wl,--as-needed")

add_library(cryptvol_warnings INTERFACE)
target_compile_options(cryptvol_warnings INTERFACE -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor
                       -Wimplicit-fallthrough -Wcast-qual
                       # A field that is not named has its default; that is what designated initializers are for.
                       $<$<CXX_COMPILER_ID:Clang>:-Wno-missing-designated-field-initializers>)
