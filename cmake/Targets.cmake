# cryptvol_library(NAME SOURCES a.cc ... [DEPS ...])
# A static library `cryptvol_NAME` with the alias `cryptvol::NAME`. Headers are included by their path
# from the repository's root below src/: #include "base/status.h".
function(cryptvol_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(cryptvol_${name} STATIC ${ARG_SOURCES})
  add_library(cryptvol::${name} ALIAS cryptvol_${name})
  target_include_directories(cryptvol_${name} PUBLIC ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(cryptvol_${name} PUBLIC ${ARG_DEPS} PRIVATE cryptvol_warnings)
endfunction()

# cryptvol_program(NAME SOURCES a.cc ... [DEPS ...]): a program in build/PRESET/bin.
function(cryptvol_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} cryptvol_warnings)
  if(CRYPTVOL_SANITIZE MATCHES address)
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/sanitizer_options.cc)
  endif()
endfunction()

# What the sanitized presets build: every program that cryptvol_test makes; under ThreadSanitizer, those of
# folders that say set(CRYPTVOL_TESTS_HAVE_THREADS ON), which ctest knows by the label "threads".
add_custom_target(unit_tests)
add_custom_target(thread_tests)

# cryptvol_test(NAME SOURCES a_test.cc ... [DEPS ...]): a GoogleTest program that ctest runs on the
# build machine. What needs a device-mapper goes into tests/vm instead.
function(cryptvol_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  cryptvol_program(${name} SOURCES ${ARG_SOURCES} DEPS ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    CRYPTVOL_TEST_VECTORS_DIR="${CMAKE_SOURCE_DIR}/tests/vectors")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_dependencies(unit_tests ${name})
  if(CRYPTVOL_TESTS_HAVE_THREADS)
    add_dependencies(thread_tests ${name})
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300)
  if(CRYPTVOL_TESTS_HAVE_THREADS)
    set_tests_properties(${name} PROPERTIES LABELS threads)
  endif()
endfunction()

# cryptvol_uses_block_devices(NAMES...): tests that look at who uses a device. mkfs.btrfs opens every device that
# there is, so that one of them would see the other's tool.
function(cryptvol_uses_block_devices)
  set_tests_properties(${ARGN} PROPERTIES RESOURCE_LOCK block_devices)
endfunction()

# Everything that tests/fuzz/run runs.
add_custom_target(fuzz_targets)

# cryptvol_fuzzer(NAME SOURCES a_fuzz.cc [DEPS ...]): a libFuzzer target; its seed corpus is
# tests/fuzz/corpus/NAME.
function(cryptvol_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  cryptvol_program(${name} SOURCES ${ARG_SOURCES} DEPS ${ARG_DEPS})
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzz_targets ${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
endfunction()
