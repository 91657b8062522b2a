# The CUDA toolkit and the backend `cuda`. Sets zo2_have_cuda; where it is ON the language CUDA is enabled and
# zo2_cuda_libraries are what the library links to.
#
# ZO2_CUDA=AUTO takes a toolkit if it is there and works, ON insists, OFF doesn't look. nvcc is searched on the PATH, in
# CUDACXX, CUDA_PATH and /usr/local/cuda. In sanitizer builds AUTO means no: there the simulator (tests/cudasim) runs
# the same kernels.

set(zo2_have_cuda OFF)
set(zo2_cuda_libraries "")
set(zo2_cuda_oldest 12.2)
set(ZO2_CUDA_ARCHITECTURES 75-real 80-real 89-real 90-real 90-virtual CACHE STRING
    "GPU architectures the kernels are built for; the virtual one serves newer devices")

option(ZO2_NVTX "Name steps, blocks and operations for NVIDIA's profilers (the library then reads NVTX_INJECTION64_PATH)" OFF)

# zo2_try_cuda(reason): sets zo2_have_cuda, or the reason why not.
function(zo2_try_cuda reason)
    find_program(ZO2_NVCC nvcc HINTS $ENV{CUDACXX} $ENV{CUDA_PATH}/bin ${CUDAToolkit_ROOT}/bin /usr/local/cuda/bin)
    mark_as_advanced(ZO2_NVCC)
    if(NOT ZO2_NVCC)
        set(${reason} "no nvcc (looked on the PATH, in CUDACXX, CUDA_PATH and /usr/local/cuda)" PARENT_SCOPE)
        return()
    endif()
    execute_process(COMMAND ${ZO2_NVCC} --version OUTPUT_VARIABLE text ERROR_QUIET)
    string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" found "${text}")
    set(version "${CMAKE_MATCH_1}")
    if(NOT found OR version VERSION_LESS zo2_cuda_oldest)
        set(${reason} "${ZO2_NVCC} is CUDA ${version}, needed is ${zo2_cuda_oldest} or newer" PARENT_SCOPE)
        return()
    endif()
    # nvcc wants a C++ compiler that it knows: ask before CMake does, which would stop here.
    file(WRITE ${PROJECT_BINARY_DIR}/try_cuda.cu "__global__ void nothing() {}\n")
    execute_process(COMMAND ${ZO2_NVCC} -std=c++17 -c ${PROJECT_BINARY_DIR}/try_cuda.cu -o ${PROJECT_BINARY_DIR}/try_cuda.o
        RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_VARIABLE text)
    if(failed)
        string(STRIP "${text}" text)
        set(${reason} "${ZO2_NVCC} can't compile: ${text}" PARENT_SCOPE)
        return()
    endif()
    set(zo2_have_cuda ON PARENT_SCOPE)
endfunction()

if(NOT ZO2_CUDA MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "ZO2_CUDA is \"${ZO2_CUDA}\": use AUTO, ON or OFF")
endif()
set(zo2_cuda_reason "ZO2_CUDA=OFF")
if(ZO2_CUDA STREQUAL "AUTO" AND ZO2_SANITIZE)
    set(zo2_cuda_reason "a sanitizer build")
elseif(NOT ZO2_CUDA STREQUAL "OFF")
    zo2_try_cuda(zo2_cuda_reason)
endif()
if(zo2_have_cuda)
    set(CMAKE_CUDA_COMPILER ${ZO2_NVCC})
    set(CMAKE_CUDA_ARCHITECTURES ${ZO2_CUDA_ARCHITECTURES})
    set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
    set(CMAKE_CUDA_STANDARD 17)
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    set(CMAKE_CUDA_EXTENSIONS OFF)
    set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
    enable_language(CUDA)
    find_package(CUDAToolkit ${zo2_cuda_oldest} QUIET)
    if(NOT TARGET CUDA::cudart OR NOT TARGET CUDA::cublas OR NOT TARGET CUDA::cublasLt)
        set(zo2_have_cuda OFF)
        set(zo2_cuda_reason "the toolkit has no cudart or cuBLAS library")
    endif()
endif()
if(zo2_have_cuda)
    # -fmad=false: no contraction, as in C. The host side links without a C++ run-time library:
    # nothing throws, and the launch code that nvcc writes sets its statics to constants, which needs no guards.
    add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;-Xcompiler=-Wall,-Wextra,-ffp-contract=off,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics;-Xfatbin=-compress-all>")
    if(ZO2_NVTX)
        add_compile_definitions($<$<COMPILE_LANGUAGE:CUDA>:ZO2_NVTX=1>)
    endif()
    if(ZO2_WERROR)
        add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>")
    endif()
    set(zo2_cuda_libraries CUDA::cudart CUDA::cublas CUDA::cublasLt ${CMAKE_DL_LIBS}) # dl: for NVTX
    message(STATUS "CUDA: backend built with ${CMAKE_CUDA_COMPILER_ID} ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
elseif(ZO2_CUDA STREQUAL "ON")
    message(FATAL_ERROR "ZO2_CUDA=ON, but: ${zo2_cuda_reason}. Set CUDACXX to nvcc, or use ZO2_CUDA=OFF.")
else()
    message(STATUS "CUDA: no backend in this build: ${zo2_cuda_reason}")
endif()

# cuRAND's header is the oracle of tests of the Philox words. It includes nv/target, which some toolkits keep apart.
set(ZO2_HAVE_CURAND_HEADER OFF)
if(NOT ZO2_CUDA STREQUAL "OFF")
    find_path(ZO2_CURAND_INCLUDE_DIR curand_philox4x32_x.h
        HINTS ${CUDAToolkit_INCLUDE_DIRS} ${CUDAToolkit_ROOT} ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES include)
    find_path(ZO2_NV_TARGET_INCLUDE_DIR nv/target
        HINTS ${ZO2_CURAND_INCLUDE_DIR} ${ZO2_CURAND_INCLUDE_DIR}/cccl NO_DEFAULT_PATH)
    mark_as_advanced(ZO2_CURAND_INCLUDE_DIR ZO2_NV_TARGET_INCLUDE_DIR)
    if(ZO2_CURAND_INCLUDE_DIR AND ZO2_NV_TARGET_INCLUDE_DIR)
        set(ZO2_HAVE_CURAND_HEADER ON)
    endif()
endif()
