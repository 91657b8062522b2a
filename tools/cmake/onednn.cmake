# oneDNN, for bf16 products of the cpu backend. Sets zo2_have_onednn; where it is ON zo2_dep_onednn is what the library links
# to, and zo2_openmp_library the linker's option for the OpenMP run-time library that oneDNN uses.
#
# ZO2_ONEDNN=AUTO takes it if it is there and fits (version 2, built with GNU OpenMP, an x86-64 machine), ON insists, OFF
# doesn't look. Builds for ThreadSanitizer go without: it can't see how OpenMP's threads synchronise, and it loses track of
# the libraries whose reports are suppressed when oneDNN makes its code.

set(zo2_have_onednn OFF)
set(zo2_openmp_library -lgomp)
if(NOT ZO2_ONEDNN MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "ZO2_ONEDNN is \"${ZO2_ONEDNN}\": use AUTO, ON or OFF")
endif()
set(zo2_onednn_reason "ZO2_ONEDNN=OFF")
if(ZO2_SANITIZE MATCHES "thread")
    set(zo2_onednn_reason "a build for ThreadSanitizer")
elseif(NOT ZO2_SIMD)
    set(zo2_onednn_reason "a build without AVX-512 loops, which pack its operands (ZO2_SIMD=OFF)")
elseif(NOT ZO2_ONEDNN STREQUAL "OFF")
    find_path(ZO2_onednn_INCLUDE_DIR oneapi/dnnl/dnnl.h)
    find_library(ZO2_onednn_LIBRARY dnnl)
    mark_as_advanced(ZO2_onednn_INCLUDE_DIR ZO2_onednn_LIBRARY)
    if(NOT ZO2_onednn_INCLUDE_DIR OR NOT ZO2_onednn_LIBRARY)
        set(zo2_onednn_reason "no oneapi/dnnl/dnnl.h with its library (Debian package libdnnl-dev)")
    else()
        include(CheckCSourceCompiles)
        set(CMAKE_REQUIRED_INCLUDES ${ZO2_onednn_INCLUDE_DIR})
        set(CMAKE_REQUIRED_LIBRARIES ${ZO2_onednn_LIBRARY} ${zo2_openmp_library})
        check_c_source_compiles("
            #include <omp.h>
            #include <oneapi/dnnl/dnnl.h>
            #if DNNL_VERSION_MAJOR != 2 || DNNL_CPU_THREADING_RUNTIME != DNNL_RUNTIME_OMP || !defined(__x86_64__)
            #error
            #endif
            int main(void)
            {
                dnnl_matmul_desc_t d;
                omp_set_num_threads(1);
                return dnnl_get_effective_cpu_isa() + dnnl_matmul_desc_init(&d, 0, 0, 0, 0);
            }" ZO2_ONEDNN_FITS)
        unset(CMAKE_REQUIRED_INCLUDES)
        unset(CMAKE_REQUIRED_LIBRARIES)
        set(zo2_have_onednn ${ZO2_ONEDNN_FITS})
        set(zo2_onednn_reason "${ZO2_onednn_LIBRARY} isn't version 2 with GNU OpenMP for x86-64")
    endif()
endif()
if(zo2_have_onednn)
    add_library(zo2_dep_onednn INTERFACE IMPORTED GLOBAL)
    target_include_directories(zo2_dep_onednn INTERFACE ${ZO2_onednn_INCLUDE_DIR})
    target_link_libraries(zo2_dep_onednn INTERFACE ${ZO2_onednn_LIBRARY} ${zo2_openmp_library})
    message(STATUS "oneDNN: bf16 products on CPUs with AVX512_BF16")
elseif(ZO2_ONEDNN STREQUAL "ON")
    message(FATAL_ERROR "ZO2_ONEDNN=ON, but: ${zo2_onednn_reason}. Use ZO2_ONEDNN=OFF.")
else()
    message(STATUS "oneDNN: not in this build: ${zo2_onednn_reason}")
endif()
