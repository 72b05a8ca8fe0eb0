/* Turning files: every orientation, every type, what the header keeps, and bad files. */
#include <sys/stat.h>
#include "base/random.h"
#include "check.h"
#include "volume/volume.h"
#include "volume_bytes.h"

static const int types[][2] = {{2, 8},   {4, 16},   {8, 32},   {16, 32},   {64, 64},
                               {256, 8}, {512, 16}, {768, 32}, {1024, 64}, {1280, 64}};
enum { TYPE_COUNT = sizeof types / sizeof *types, VOXELS = 3 * 4 * 5 };

static const struct volume_policy any = {.allow_channels = true};
static const char *const codes[] = {"RAS", "LPS", "AIR", "SPL", "IAL", "PRI"};

static void fill(double samples[], int count) {
  for (int i = 0; i < count; i++) samples[i] = i % 100;
}

/* What the header of a file says at a place. */
static void read_bytes(const char *path, long offset, void *to, size_t bytes) {
  FILE *file = fopen(path, "rb");
  CHECK(file && fseek(file, offset, SEEK_SET) == 0 && fread(to, 1, bytes, file) == bytes);
  if (file) fclose(file);
}

static double place_of(const struct affine *affine, int i, int j, int k, int axis) {
  double world[3];
  affine_apply(affine, (double[]){i, j, k}, world);
  return world[axis];
}

/* Both files must hold the same values at the same places of the world. */
static void check_same_world(const char *first, const char *second, const char *code) {
  struct volume a, b;
  char found[4];
  CHECK_OK(volume_read(&a, first, &any));
  CHECK_OK(volume_read(&b, second, &any));
  affine_get_orientation(&b.affine, found);
  CHECK_SAY(strcmp(found, code) == 0, ": %s for %s", found, code);
  CHECK(volume_count(&a) == volume_count(&b) && a.channels == b.channels);
  CHECK_OK(volume_reorient(&a, code));
  struct grid ours = volume_get_grid(&b), expected = volume_get_grid(&a);
  CHECK(grid_is_same(&ours, &expected, 1e-4));
  size_t bytes = volume_count(&a) * (size_t)a.channels * sizeof(float);
  CHECK(memcmp(a.values, b.values, bytes) == 0);
  CHECK(a.sform_code == b.sform_code && a.qform_code == b.qform_code);
  CHECK(b.warnings == NULL || a.warnings != NULL);
  volume_close(&a);
  volume_close(&b);
}

static void turn(const char *from, const char *to, const char *code) {
  struct volume input;
  CHECK_OK(volume_reorient_file(from, to, code, &any, &input));
  volume_close(&input);
}

TEST(turns_every_type) {
  char *folder = check_make_folder(), *out = file_join(folder, "out.nii");
  double samples[2 * VOXELS];
  fill(samples, 2 * VOXELS);
  for (int i = 0; i < TYPE_COUNT * 4; i++) {
    struct bytes_plan plan = bytes_default(types[i / 4][0], types[i / 4][1]);
    plan.swapped = i & 1;
    plan.version = i & 2 ? 2 : 1;
    plan.offset = plan.version == 1 ? 352 : 544;
    plan.slope = 0.5;
    plan.inter = -7;
    if (i % 3 == 0) { /* two channels in the fifth dimension */
      plan.dim[0] = 5;
      plan.dim[5] = 2;
    }
    char *in = bytes_store(folder, "in.nii", &plan, samples, i % 3 ? VOXELS : 2 * VOXELS);
    const char *code = codes[i % 6];
    turn(in, out, code);
    check_same_world(in, out, code);
    struct stat a, b;
    CHECK(stat(in, &a) == 0 && stat(out, &b) == 0 && a.st_size == b.st_size);
    int16_t datatype = 0;
    read_bytes(out, plan.version == 1 ? 70 : 12, &datatype, sizeof datatype);
    CHECK(datatype == types[i / 4][0]);
    free(in);
  }
  free(out);
  check_remove_folder(folder);
}

/* There and back again: the bytes must be those of the beginning. (A quaternion may be rounded.) */
TEST(turning_back_gives_the_same_bytes) {
  char *folder = check_make_folder();
  double samples[VOXELS];
  fill(samples, VOXELS);
  struct bytes_plan plan = bytes_default(16, 32);
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    struct bytes_file made = bytes_make(&plan, samples, VOXELS);
    /* of the first 40 bytes only sizeof_hdr and dim_info are used; "regular" is written as 'r' */
    made.bytes[38] = 'r';
    made.bytes[39] = 1 | 2 << 2 | 3 << 4;
    made.bytes[122] = 3;        /* slice_code */
    made.bytes[120] = 4;        /* slice_end */
    made.bytes[124 + 2] = 0x80; /* cal_max */
    made.bytes[124 + 3] = 0x3f;
    memcpy(made.bytes + 148, "some text", 9);
    memcpy(made.bytes + 228, "a file", 6);
    char *in = file_join(folder, "in.nii"), *there = file_join(folder, "there.nii");
    char *back = file_join(folder, "back.nii"), *text = NULL;
    size_t bytes;
    bytes_save(in, made.bytes, made.count);
    turn(in, there, codes[i]);
    turn(there, back, "RAS");
    CHECK_OK(file_read(back, 1 << 20, &text, &bytes));
    CHECK(bytes == made.count);
    for (size_t n = 0; n < made.count && n < bytes; n++)
      CHECK_SAY((unsigned char)text[n] == made.bytes[n], ": byte %zu after %s", n, codes[i]);
    free(made.bytes);
    free(in);
    free(there);
    free(back);
    free(text);
  }
  check_remove_folder(folder);
}

TEST(slices_keep_their_times) {
  char *folder = check_make_folder(), *out = file_join(folder, "out.nii");
  double samples[VOXELS];
  fill(samples, VOXELS);
  struct bytes_plan plan = bytes_default(4, 16);
  struct bytes_file made = bytes_make(&plan, samples, VOXELS);
  made.bytes[39] = 2 | 1 << 2 | 3 << 4; /* phase along i, frequency along j, slices along k */
  made.bytes[122] = 1;                  /* one after the other, upwards */
  made.bytes[74] = 1;                   /* slice_start */
  made.bytes[120] = 4;                  /* slice_end, of 0..4 */
  char *in = file_join(folder, "in.nii");
  bytes_save(in, made.bytes, made.count);
  turn(in, out, "IPR"); /* k, flipped, comes first; then j, flipped; then i */
  unsigned char directions = 0, code = 0;
  int16_t start = 0, end = 0;
  read_bytes(out, 39, &directions, 1);
  read_bytes(out, 122, &code, 1);
  read_bytes(out, 74, &start, 2);
  read_bytes(out, 120, &end, 2);
  CHECK(directions == (2 | 3 << 2 | 1 << 4));
  CHECK(code == 2 && start == 0 && end == 3);
  turn(in, out, "PSR"); /* not flipped */
  read_bytes(out, 122, &code, 1);
  read_bytes(out, 74, &start, 2);
  CHECK(code == 1 && start == 1);
  free(made.bytes);
  free(in);
  free(out);
  check_remove_folder(folder);
}

/* An extension of 32 bytes with text between header and voxels. */
static struct bytes_file with_extension(struct bytes_plan *plan, const double *samples) {
  plan->offset = 352 + 32;
  struct bytes_file made = bytes_make(plan, samples, VOXELS);
  made.bytes[348] = 1;
  bytes_put_int(made.bytes + 352, 32, 4, plan->swapped);
  bytes_put_int(made.bytes + 356, 6, 4, plan->swapped);
  memcpy(made.bytes + 360, "1 liver, 2 spleen", 17);
  return made;
}

TEST(extensions_stay) {
  char *folder = check_make_folder(), *in = file_join(folder, "in.nii.gz");
  char *out = file_join(folder, "out.nii");
  double samples[VOXELS];
  fill(samples, VOXELS);
  for (int swapped = 0; swapped < 2; swapped++) {
    struct bytes_plan plan = bytes_default(2, 8);
    plan.swapped = swapped;
    struct bytes_file made = with_extension(&plan, samples);
    struct bytes_file packed = bytes_compress(made.bytes, made.count);
    bytes_save(in, packed.bytes, packed.count);
    struct volume input;
    CHECK_OK(volume_reorient_file(in, out, "LPS", &any, &input));
    check_same_world(in, out, "LPS");
    char text[18] = {0};
    struct stat information;
    CHECK(stat(out, &information) == 0 && information.st_size == (swapped ? 352 : 384) + VOXELS);
    if (!swapped) read_bytes(out, 360, text, 17);
    CHECK(swapped ? input.warnings && strstr(input.warnings, "extensions have the other byte order")
                  : strcmp(text, "1 liver, 2 spleen") == 0);
    volume_close(&input);
    free(made.bytes);
    free(packed.bytes);
  }
  free(in);
  free(out);
  check_remove_folder(folder);
}

TEST(pairs_become_one_file_in_its_own_place) {
  char *folder = check_make_folder(), *out = file_join(folder, "out.nii.gz");
  double samples[VOXELS];
  fill(samples, VOXELS);
  struct bytes_plan plan = bytes_default(2, 8);
  plan.pair = true;
  plan.offset = 0;
  plan.dim[3] = 1; /* and of two dimensions: 3 x 4 */
  plan.dim[0] = 2;
  char *in = bytes_store(folder, "in.hdr", &plan, NULL, 0), *image = file_join(folder, "in.img");
  unsigned char voxels[12];
  for (int i = 0; i < 12; i++) voxels[i] = (unsigned char)samples[i];
  bytes_save(image, voxels, sizeof voxels);
  turn(in, out, "ASR");
  check_same_world(in, out, "ASR");
  char *same = file_join(folder, "same.nii.gz");
  turn(out, same, "ASR");
  turn(out, out, "RAS"); /* onto itself */
  check_same_world(same, out, "RAS");
  free(same);
  free(image);
  free(in);
  free(out);
  check_remove_folder(folder);
}

TEST(places_follow_the_axes) {
  char *folder = check_make_folder(), *out = file_join(folder, "out.nii");
  double samples[VOXELS];
  fill(samples, VOXELS);
  struct bytes_plan plan = bytes_default(4, 16);
  plan.sform_code = 0; /* by the qform alone: turned by 0.4 rad about z */
  plan.qform_code = 3;
  plan.quatern[2] = sin(0.2);
  memcpy(plan.shift, (double[]){5, 6, 7}, sizeof plan.shift);
  plan.pixdim[0] = -1;
  char *in = bytes_store(folder, "in.nii", &plan, samples, VOXELS);
  turn(in, out, "RAS");
  check_same_world(in, out, "RAS");
  free(in);
  plan.qform_code = 0; /* by nothing */
  in = bytes_store(folder, "in.nii", &plan, samples, VOXELS);
  struct volume input;
  CHECK_FAILS(volume_reorient_file(in, out, "RAS", &any, &input), "sform_code and qform_code");
  const struct volume_policy las = {.unknown_orientation = UNKNOWN_LAS};
  CHECK_OK(volume_reorient_file(in, out, "RAS", &las, &input));
  struct volume turned;
  CHECK_OK(volume_read(&turned, out, &any));
  CHECK_NEAR(turned.affine.m[0][0], 2, 1e-6);
  for (int a = 0; a < 3; a++)
    CHECK_NEAR(place_of(&turned.affine, 2, 3, 4, a), place_of(&input.affine, 0, 3, 4, a), 1e-5);
  CHECK(turned.values[0] == 2 && turned.sform_code == 1); /* the first row, from its end */
  volume_close(&turned);
  volume_close(&input);
  free(in);
  free(out);
  check_remove_folder(folder);
}

TEST(refuses_what_is_wrong) {
  char *folder = check_make_folder(), *out = file_join(folder, "out.nii");
  double samples[VOXELS];
  fill(samples, VOXELS);
  struct bytes_plan plan = bytes_default(4, 16);
  char *in = bytes_store(folder, "in.nii", &plan, samples, VOXELS);
  struct volume input;
  CHECK_FAILS(volume_reorient_file(in, out, "RAX", &any, &input), "expected three letters");
  CHECK_FAILS(volume_reorient_file(in, "out.txt", "RAS", &any, &input), "ends in .nii or .nii.gz");
  CHECK_FAILS(volume_reorient_file("/nowhere/a.nii", out, "RAS", &any, &input), "/nowhere/a.nii");
  CHECK_FAILS(volume_reorient_file(in, "/nowhere/a.nii", "RAS", &any, &input), "/nowhere/a");
  CHECK(!file_exists(out));
  free(in);
  plan.datatype = 128; /* RGB */
  plan.bitpix = 24;
  in = bytes_store(folder, "in.nii", &plan, samples, VOXELS);
  CHECK_FAILS(volume_reorient_file(in, out, "RAS", &any, &input), "found 128 (RGB24)");
  free(in);
  free(out);
  check_remove_folder(folder);
}

/* Cut files and files with changed bytes: an error or a whole file, never a crash or a rest. */
TEST(survives_damage) {
  char *folder = check_make_folder(), *in = file_join(folder, "in.nii");
  char *out = file_join(folder, "out.nii");
  double samples[VOXELS];
  fill(samples, VOXELS);
  struct random random = random_stream(5, RANDOM_TEST, 0, 0);
  int refused = 0;
  for (int i = 0; i < 600; i++) {
    struct bytes_plan plan = bytes_default(4, 16);
    plan.swapped = i & 1;
    struct bytes_file made = with_extension(&plan, samples);
    size_t count = i % 3 ? made.count : random_below(&random, (uint32_t)made.count);
    for (int n = 0; n < 1 + i % 4 && i % 3; n++)
      made.bytes[random_below(&random, 400)] = (unsigned char)random_bits(&random);
    bytes_save(in, made.bytes, count);
    remove(out);
    struct volume input;
    status_clear();
    if (volume_reorient_file(in, out, codes[i % 6], &any, &input) != STATUS_OK) {
      CHECK(status_message()[0] && !file_exists(out));
      refused++;
    } else {
      volume_close(&input);
      struct volume turned;
      CHECK(volume_read(&turned, out, &any) == STATUS_OK || i % 3);
      volume_close(&turned);
    }
    free(made.bytes);
  }
  CHECK_SAY(refused > 200 && refused < 600, ": %d", refused);
  free(in);
  free(out);
  check_remove_folder(folder);
}

int main(void) {
  RUN(turns_every_type);
  RUN(turning_back_gives_the_same_bytes);
  RUN(slices_keep_their_times);
  RUN(extensions_stay);
  RUN(pairs_become_one_file_in_its_own_place);
  RUN(places_follow_the_axes);
  RUN(refuses_what_is_wrong);
  RUN(survives_damage);
  return check_result();
}
