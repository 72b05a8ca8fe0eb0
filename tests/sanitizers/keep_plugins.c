/* Keeps every loaded library in place until the end, so that leak reports can name it. */
int dlclose(void *handle);
int dlclose(void *handle) {
  (void)handle;
  return 0;
}
