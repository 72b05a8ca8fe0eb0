# oneDNN, an optional engine of convolutions on the CPU: Debian's libdnnl-dev, or a build of one's own that is found
# through DNNLROOT. Sets ONEDNN_LIBRARIES, and defines MEDTRAIN_HAS_ONEDNN for the sources that list what there is.
option(MEDTRAIN_ONEDNN "Use oneDNN where it is found" ON)
set(ONEDNN_LIBRARIES "")
find_path(ONEDNN_INCLUDE_DIR oneapi/dnnl/dnnl.h HINTS $ENV{DNNLROOT} PATH_SUFFIXES include)
find_library(ONEDNN_LIBRARY dnnl HINTS $ENV{DNNLROOT} PATH_SUFFIXES lib lib64)
if(MEDTRAIN_ONEDNN AND ONEDNN_INCLUDE_DIR AND ONEDNN_LIBRARY)
  set_source_files_properties(kernels/conv/conv.c src/command/doctor.c PROPERTIES COMPILE_DEFINITIONS MEDTRAIN_HAS_ONEDNN)
  add_library(onednn_interface INTERFACE)
  target_include_directories(onednn_interface SYSTEM INTERFACE ${ONEDNN_INCLUDE_DIR})
  target_link_libraries(onednn_interface INTERFACE ${ONEDNN_LIBRARY})
  set(ONEDNN_LIBRARIES onednn_interface)
endif()

# Leaves out of `variable`, a list of sources, what needs oneDNN where it is not there.
function(onednn_filter variable)
  set(sources ${${variable}})
  if(NOT ONEDNN_LIBRARIES)
    list(FILTER sources EXCLUDE REGEX "(/|_)onednn[a-z_]*\\.c$")
  endif()
  set(${variable} ${sources} PARENT_SCOPE)
endfunction()
