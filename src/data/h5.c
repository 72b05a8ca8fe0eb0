/* Files: opening, creating alone or with other ranks, and what HDF5 says when something fails. */
#include "data/h5.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { ALIGNMENT = 4096, ALIGN_FROM = 65536 };

enum { REASON_BYTES = 256 };
static _Thread_local char kept[REASON_BYTES], given[REASON_BYTES];

/* Of a failed system call HDF5 tells a long story with the system's own words in the middle of it.
 */
static void keep_text(const char *text) {
  static const char mark[] = "error message = '";
  const char *words = strstr(text, mark);
  if (words) text = words + strlen(mark);
  snprintf(kept, REASON_BYTES, " (HDF5: %.*s)", (int)strcspn(text, words ? "'\n" : "\n"), text);
}

static herr_t keep_description(unsigned depth, const H5E_error2_t *error, void *unused) {
  (void)depth;
  (void)unused;
  if (error->desc && error->desc[0]) keep_text(error->desc);
  return 0;
}

/* HDF5 calls this when one of its functions fails, and forgets the errors at the next call.
 * Downward: the last error visited is the innermost, which knows the cause. */
static herr_t keep_reason(hid_t stack, void *unused) {
  return H5Ewalk2(stack, H5E_WALK_DOWNWARD, keep_description, unused);
}

const char *h5_reason(void) {
  memcpy(given, kept, REASON_BYTES);
  kept[0] = 0;
  return given;
}

static void keep_reasons(void) {
  /* everything is closed by those who opened it; what HDF5 does at exit only complains on stderr
   * about files that could not be written */
  H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, keep_reason, NULL);
  kept[0] = 0;
}

enum status h5_open(struct h5_file *file, const char *path) {
  *file = (struct h5_file){.id = H5I_INVALID_HID, .path = path};
  keep_reasons();
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
  keep_reasons();
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
