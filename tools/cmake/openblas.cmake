# OpenBLAS is loaded by those who multiply when they begin to (kernels/cpu/blas.h), not linked to. Sets zo2_openblas_soname,
# the name that the loader knows it by, and zo2_openblas_loaded, an interface target with what loading it takes: the header,
# and the names as ZO2_OPENBLAS_SONAME and ZO2_OPENBLAS_FILE.

file(REAL_PATH ${ZO2_openblas_LIBRARY} zo2_openblas_file)
set(zo2_openblas_soname "")
if(CMAKE_READELF)
    execute_process(COMMAND ${CMAKE_COMMAND} -E env LC_ALL=C ${CMAKE_READELF} -d ${zo2_openblas_file}
        OUTPUT_VARIABLE zo2_openblas_dynamic ERROR_QUIET)
    if(zo2_openblas_dynamic MATCHES "\\(SONAME\\)[^\n]*\\[([^]\n]+)\\]")
        set(zo2_openblas_soname ${CMAKE_MATCH_1})
    endif()
endif()
if(NOT zo2_openblas_soname)
    message(FATAL_ERROR "${ZO2_openblas_LIBRARY} is not a shared library of which readelf shows a soname. zo2 loads OpenBLAS "
        "when it multiplies: install the shared library (Debian package libopenblas-dev), or name it with "
        "-DZO2_openblas_LIBRARY=FILE")
endif()

# Where the loader looks by itself the soname is enough, and the library's files may move; elsewhere it must be told.
set(zo2_openblas_path ${zo2_openblas_soname})
cmake_path(GET ZO2_openblas_LIBRARY PARENT_PATH zo2_openblas_folder)
if(NOT zo2_openblas_folder IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
    set(zo2_openblas_path ${zo2_openblas_folder}/${zo2_openblas_soname})
endif()

add_library(zo2_openblas_loaded INTERFACE)
target_include_directories(zo2_openblas_loaded INTERFACE ${ZO2_openblas_INCLUDE_DIR})
target_compile_definitions(zo2_openblas_loaded INTERFACE
    ZO2_OPENBLAS_SONAME="${zo2_openblas_soname}" ZO2_OPENBLAS_FILE="${zo2_openblas_path}")
target_link_libraries(zo2_openblas_loaded INTERFACE ${CMAKE_DL_LIBS})
