# ZO2_PORTABLE: programs that need nothing of the machine they are taken to but libc and, built with CUDA, cudart and cuBLAS;
# for tools/gpu-bundle. Built without CUDA, tools have libzo2 and all libraries in them of which there is a static form. With it, tools and tests share one
# libzo2, which has the kernels and shows all of its symbols; archives can't go into that, they aren't position-independent. Nothing
# has a path of this machine in it: whoever runs them sets LD_LIBRARY_PATH.

set(CMAKE_SKIP_RPATH ON)

# OpenBLAS has kernels for every CPU, 25 MB of them: lib/libopenblas.so.0, of what is called alone and without Fortran's
# run-time library, not a copy in each program.
get_filename_component(folder ${ZO2_openblas_LIBRARY} DIRECTORY)
find_library(ZO2_openblas_ARCHIVE libopenblas.a HINTS ${folder})
mark_as_advanced(ZO2_openblas_ARCHIVE)
if(ZO2_openblas_ARCHIVE)
    file(WRITE ${PROJECT_BINARY_DIR}/openblas.c "typedef int zo2_openblas_empty;\n") # a library needs a source
    add_library(zo2_openblas SHARED ${PROJECT_BINARY_DIR}/openblas.c)
    set_target_properties(zo2_openblas PROPERTIES OUTPUT_NAME openblas SOVERSION 0)
    foreach(symbol cblas_sgemm openblas_get_num_threads openblas_set_num_threads)
        target_link_options(zo2_openblas PRIVATE LINKER:-u,${symbol})
    endforeach()
    target_link_libraries(zo2_openblas PRIVATE ${ZO2_openblas_ARCHIVE} Threads::Threads m)
    set_target_properties(zo2_dep_openblas PROPERTIES INTERFACE_LINK_LIBRARIES zo2_openblas)
endif()
