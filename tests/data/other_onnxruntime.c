/* A library with the one symbol of ONNX Runtime that says which version it is, and nothing behind it.
 * Built by tests/runtime.rs with -DVERSION="..." */
typedef struct {
  const void *(*get_api)(unsigned version);
  const char *(*get_version_string)(void);
} OrtApiBase;

static const void *get_api(unsigned version) {
  (void)version;
  return 0;
}

static const char *get_version_string(void) { return VERSION; }

#ifdef NO_BASE
const OrtApiBase *OrtGetApiBase(void) { return 0; }
#else
const OrtApiBase *OrtGetApiBase(void) {
  static const OrtApiBase base = {get_api, get_version_string};
  return &base;
}
#endif
