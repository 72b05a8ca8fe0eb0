/* Files: opening, creating alone or with other ranks, and what HDF5 says when something fails. */
#include "data/h5.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { ALIGNMENT = 4096, ALIGN_FROM = 65536 };

static herr_t keep_reason(unsigned depth, const H5E_error2_t *error, void *text) {
  (void)depth;
  if (error->desc && error->desc[0]) snprintf(text, 256, " (HDF5: %s)", error->desc);
  return 0;
}

const char *h5_reason(void) {
  static _Thread_local char text[256];
  text[0] = 0;
  /* downward: the last one visited is the innermost, which knows the cause */
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_reason, text);
  return text;
}

static void quieten(void) {
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

enum status h5_open(struct h5_file *file, const char *path) {
  *file = (struct h5_file){.id = H5I_INVALID_HID, .path = path};
  quieten();
  struct stat information;
  REQUIRE(stat(path, &information) == 0, STATUS_FAILED, "%s: expected a shard file, found none",
          path);
  REQUIRE(S_ISREG(information.st_mode), STATUS_FAILED, "%s: not a regular file", path);
  file->bytes = (uint64_t)information.st_size;
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  REQUIRE(access >= 0, STATUS_FAILED, "%s: out of memory", path);
  H5Pset_file_locking(access, false, true);
  file->id = H5Fopen(path, H5F_ACC_RDONLY, access);
  H5Pclose(access);
  REQUIRE(file->id >= 0, STATUS_FAILED,
          "%s: expected an HDF5 file, found one that is damaged, cut short or of another kind%s",
          path, h5_reason());
  return STATUS_OK;
}

/* Format 1.10: all metadata with checksums. */
static herr_t set_access(hid_t access, const MPI_Comm *communicator) {
  if (access < 0 || H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) < 0 ||
      H5Pset_alignment(access, ALIGN_FROM, ALIGNMENT) < 0)
    return -1;
  return communicator ? H5Pset_fapl_mpio(access, *communicator, MPI_INFO_NULL) : 0;
}

enum status h5_create(struct h5_file *file, const char *path, const MPI_Comm *communicator) {
  int rank = 0;
  if (communicator) MPI_Comm_rank(*communicator, &rank);
  *file = (struct h5_file){.id = H5I_INVALID_HID, .path = path, .writes = rank == 0};
  quieten();
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  if (set_access(access, communicator) >= 0)
    file->id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
  H5Pclose(access);
  REQUIRE(file->id >= 0, STATUS_FAILED, "%s: cannot create%s", path, h5_reason());
  return STATUS_OK;
}

enum status h5_finish(struct h5_file *file) {
  herr_t flushed = H5Fflush(file->id, H5F_SCOPE_GLOBAL);
  herr_t closed = H5Fclose(file->id);
  file->id = H5I_INVALID_HID;
  REQUIRE(flushed >= 0 && closed >= 0, STATUS_FAILED,
          "%s: cannot write to its end; is there space left?%s", file->path, h5_reason());
  return STATUS_OK;
}

void h5_close(struct h5_file *file) {
  if (file->id > 0) H5Fclose(file->id);
  file->id = H5I_INVALID_HID;
}

bool h5_has_attribute(struct h5_file *file, const char *attribute) {
  return H5Aexists(file->id, attribute) > 0;
}

bool h5_has_field(struct h5_file *file, const char *name) {
  return H5Lexists(file->id, name, H5P_DEFAULT) > 0;
}
