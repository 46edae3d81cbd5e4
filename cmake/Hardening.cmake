# What every target of ours is compiled with. Generated code (proto/) takes only the parts that
# change code generation, not the warnings: see Targets.cmake.
if(CRYPTVOL_SANITIZE)
  add_compile_options(-fsanitize=${CRYPTVOL_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_compile_options($<$<CONFIG:Debug>:-g1>)  # enough for the stacks in a report
  add_link_options(-fsanitize=${CRYPTVOL_SANITIZE})
else()
  add_compile_options(-fstack-protector-strong -fstack-clash-protection -fcf-protection)
  add_compile_options($<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
  add_link_options(-Wl,-z,relro -Wl,-z,now)
endif()
set(CMAKE_EXE_LINKER_FLAGS "${CMAKE_EXE_LINKER_FLAGS} -Wl,--as-needed")

add_library(cryptvol_warnings INTERFACE)
target_compile_options(cryptvol_warnings INTERFACE -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor
                       -Wimplicit-fallthrough -Wcast-qual)
