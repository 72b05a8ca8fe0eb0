/* A NIfTI file in words: what its header says, what its voxels are, what is wrong with it. */
#include <math.h>
#include <string.h>
#include "volume/header.h"

static const struct volume_policy lenient = {
    .nonfinite = NONFINITE_KEEP, .unknown_orientation = UNKNOWN_RAS, .allow_channels = true};

static void print_shape(const struct header *header, FILE *out) {
  fprintf(out, "shape        %d x %d x %d", header->extent[0], header->extent[1],
          header->extent[2]);
  if (header->channels > 1) fprintf(out, " x %d channels", header->channels);
  fprintf(out, "\nformat       NIfTI-%d%s%s%s\n", header->version,
          header->fields.magic[1] == 'i' ? ", .hdr/.img pair" : "",
          header->swapped ? ", other byte order" : "", header->stream.compressed ? ", gzip" : "");
  fprintf(out, "type         %s\n", header->type->name);
}

static void print_text(const char *title, const char *text, size_t bytes, FILE *out) {
  size_t length = strnlen(text, bytes);
  if (!length) return;
  fprintf(out, "%-12s ", title);
  for (size_t i = 0; i < length; i++) /* what is in a file need not be fit for a terminal */
    fputc(text[i] >= ' ' && text[i] <= '~' ? text[i] : '?', out);
  fputc('\n', out);
}

static void print_fields(const struct header *header, FILE *out) {
  const nifti_2_header *fields = &header->fields;
  fprintf(out, "sform code   %d (%s)\n", fields->sform_code,
          nifti_xform_string(fields->sform_code));
  fprintf(out, "qform code   %d (%s)\n", fields->qform_code,
          nifti_xform_string(fields->qform_code));
  fprintf(out, "units        %s\n", nifti_units_string(fields->xyzt_units & 7));
  fprintf(out, "scaling      slope %g, intercept %g\n", fields->scl_slope, fields->scl_inter);
  fprintf(out, "intent       %d (%s)\n", fields->intent_code,
          nifti_intent_string(fields->intent_code));
  print_text("intent name", fields->intent_name, sizeof fields->intent_name, out);
  print_text("description", fields->descrip, sizeof fields->descrip, out);
}

static void print_geometry(const struct volume *volume, FILE *out) {
  double spacing[3];
  char code[4];
  affine_get_spacing(&volume->affine, spacing);
  affine_get_orientation(&volume->affine, code);
  fprintf(out, "spacing      %g x %g x %g mm\norientation  %s\n", spacing[0], spacing[1],
          spacing[2], code);
  for (int a = 0; a < 3; a++) {
    const double *row = volume->affine.m[a];
    fprintf(out, "%-12s %12.6g %12.6g %12.6g %12.6g\n", a ? "" : "affine", row[0], row[1], row[2],
            row[3]);
  }
}

static void print_range(const struct volume *volume, FILE *out) {
  size_t count = volume_count(volume) * (size_t)volume->channels, finite = 0;
  double least = INFINITY, most = -INFINITY, sum = 0;
  for (size_t n = 0; n < count; n++) {
    if (!isfinite(volume->values[n])) continue;
    least = fmin(least, volume->values[n]);
    most = fmax(most, volume->values[n]);
    sum += volume->values[n];
    finite++;
  }
  if (finite) fprintf(out, "range        %g to %g, mean %g\n", least, most, sum / (double)finite);
}

static void print_problems(const struct volume *volume, const char *error, FILE *out) {
  const char *line = volume->warnings;
  while (line && *line) {
    size_t length = strcspn(line, "\n");
    fprintf(out, "problem      %.*s\n", (int)length, line);
    line += length + (line[length] != 0);
  }
  if (error) fprintf(out, "problem      %s\n", error);
  if (!volume->warnings && !error) fprintf(out, "problems     none\n");
}

static enum status inspect_header(const char *path, FILE *out) {
  struct volume volume = {0};
  struct header header;
  enum status status = header_open(&header, path, &lenient, &volume);
  volume_close(&volume);
  if (status) return status_pass(status, __func__, __FILE__, __LINE__);
  fprintf(out, "file         %s\n", path);
  print_shape(&header, out);
  print_fields(&header, out);
  header_close(&header);
  return STATUS_OK;
}

enum status volume_inspect(const char *path, FILE *out) {
  TRY(inspect_header(path, out));
  struct volume volume;
  const char *error = NULL;
  if (volume_read(&volume, path, &lenient) != STATUS_OK) {
    error = status_message();
    if (volume_read_header(&volume, path, &lenient) != STATUS_OK) volume = (struct volume){0};
  }
  if (volume.channels) print_geometry(&volume, out);
  if (volume.values) print_range(&volume, out);
  print_problems(&volume, error, out);
  volume_close(&volume);
  return STATUS_OK;
}
