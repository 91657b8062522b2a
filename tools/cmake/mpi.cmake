# MPI, for zo2-tune train --distribute. Sets zo2_have_mpi; where it is ON the target MPI::MPI_C is what zo2-tune links to.
#
# ZO2_MPI=AUTO takes it if it is there, ON insists, OFF doesn't look. Without it everything else works. Builds for a sanitizer go
# without by themselves, because of what Open MPI leaves behind, and so do portable ones, because an MPI is not to be taken along.

set(zo2_have_mpi OFF)
if(NOT ZO2_MPI MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "ZO2_MPI is \"${ZO2_MPI}\": use AUTO, ON or OFF")
endif()
set(zo2_mpi_reason "ZO2_MPI=OFF")
if(ZO2_MPI STREQUAL "AUTO" AND ZO2_SANITIZE)
    set(zo2_mpi_reason "a build with sanitizers")
elseif(ZO2_MPI STREQUAL "AUTO" AND ZO2_PORTABLE)
    set(zo2_mpi_reason "a portable build")
elseif(NOT ZO2_MPI STREQUAL "OFF")
    set(MPI_CXX_SKIP_MPICXX ON)
    find_package(MPI QUIET COMPONENTS C)
    set(zo2_have_mpi ${MPI_C_FOUND})
    set(zo2_mpi_reason "no MPI (Debian packages libopenmpi-dev and openmpi-bin)")
endif()
if(zo2_have_mpi)
    message(STATUS "MPI: zo2-tune train --distribute")
elseif(ZO2_MPI STREQUAL "ON")
    message(FATAL_ERROR "ZO2_MPI=ON, but: ${zo2_mpi_reason}. Use ZO2_MPI=OFF.")
else()
    message(STATUS "MPI: not in this build: ${zo2_mpi_reason}")
endif()
