# What "cmake --install" puts where: libraries, header, CMake package zo2::zo2, zo2.pc, man pages, bash completion.
# (The tools' programs are installed by tools/CMakeLists.txt.) Everything is relocatable.
include(CMakePackageConfigHelpers)

# All that is installed and has to be built: enough for an installation, without tests and examples.
add_custom_target(zo2-installed)
add_dependencies(zo2-installed zo2 zo2_static)

install(TARGETS zo2 EXPORT zo2-targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS zo2_static EXPORT zo2-static-targets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES engine/zo2.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# Sanitized libraries are for the tests; their runtime is no dependency that a package file could name.
set(zo2_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/zo2)
install(EXPORT zo2-targets NAMESPACE zo2:: DESTINATION ${zo2_package_dir})
install(EXPORT zo2-static-targets NAMESPACE zo2:: DESTINATION ${zo2_package_dir})

# zo2_dependency_names: our name : the library's, for the static library's users
set(zo2_dependency_names "")
set(zo2_pc_libs_private "")
foreach(name IN LISTS zo2_library_dependencies)
    cmake_path(GET ZO2_${name}_LIBRARY STEM library)
    string(REGEX REPLACE "^lib" "" library ${library})
    string(APPEND zo2_dependency_names "${name}:${library} ")
    string(APPEND zo2_pc_libs_private "-l${library} ")
endforeach()
if(zo2_have_onednn)
    string(APPEND zo2_pc_libs_private "${zo2_openmp_library} ")
endif()
if(zo2_have_cuda)
    string(APPEND zo2_pc_libs_private "-L${CUDAToolkit_LIBRARY_DIR} -lcublas -lcublasLt -lcudart ")
endif()
foreach(library IN LISTS CMAKE_DL_LIBS)
    string(APPEND zo2_pc_libs_private "-l${library} ")
endforeach()
string(APPEND zo2_pc_libs_private "-lpthread -lm")

configure_package_config_file(tools/cmake/zo2-config.cmake.in ${PROJECT_BINARY_DIR}/zo2-config.cmake
    INSTALL_DESTINATION ${zo2_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/zo2-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/zo2-config.cmake ${PROJECT_BINARY_DIR}/zo2-config-version.cmake
    DESTINATION ${zo2_package_dir})

file(RELATIVE_PATH zo2_pc_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" zo2_pc_to_prefix ${zo2_pc_to_prefix})
configure_file(tools/cmake/zo2.pc.in ${PROJECT_BINARY_DIR}/zo2.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/zo2.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

foreach(tool pack tune plan bench)
    if(TARGET zo2-${tool})
        add_dependencies(zo2-installed zo2-${tool})
    endif()
endforeach()

# Man pages and completion come out of the tools themselves, so they are made where the tools can run.
if(NOT CMAKE_CROSSCOMPILING)
    foreach(tool pack tune plan bench)
        if(NOT TARGET zo2-${tool})
            continue()
        endif()
        set(prose ${PROJECT_SOURCE_DIR}/tools/man/zo2-${tool}.roff)
        set(page ${PROJECT_BINARY_DIR}/man/zo2-${tool}.1)
        set(completion ${PROJECT_BINARY_DIR}/completion/zo2-${tool})
        add_custom_command(OUTPUT ${page} ${completion}
            COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/man ${PROJECT_BINARY_DIR}/completion
            COMMAND sh -c [["$1" --help=roff >"$3" && cat "$2" >>"$3"]] sh $<TARGET_FILE:zo2-${tool}> ${prose} ${page}
            COMMAND sh -c [[sh "$1" "$2" >"$3"]] sh ${PROJECT_SOURCE_DIR}/tools/man/completion.sh
                $<TARGET_FILE:zo2-${tool}> ${completion}
            DEPENDS zo2-${tool} ${prose} tools/man/completion.sh
            VERBATIM)
        add_custom_target(zo2-${tool}-man ALL DEPENDS ${page} ${completion})
        add_dependencies(zo2-installed zo2-${tool}-man)
        install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
        install(FILES ${completion} DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    endforeach()
endif()
