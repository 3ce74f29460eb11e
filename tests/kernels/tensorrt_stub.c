/* What TensorRT's Python bindings need to be loaded where there is no TensorRT and no GPU.

   INFER  libnvinfer.so.11, linked to libnvinfer_lean.so.11, whose plugin registry is a real one
   PARSER libnvinfer_plugin.so.11 and libnvonnxparser.so.11
   CUDA   libcuda.so.1 with one GPU, whose compute capability is in CAPABILITY ("90") */

#include <stdlib.h>

#define ABSENT(name) void *name(void) { return 0; }

#ifdef INFER
ABSENT(createInferBuilder_INTERNAL)
ABSENT(getBuilderPluginRegistry)
#endif

#ifdef PARSER
ABSENT(initLibNvInferPlugins)
ABSENT(createNvOnnxParser_INTERNAL)
ABSENT(createNvOnnxParserRefitter_INTERNAL)
ABSENT(getNvOnnxParserVersion)
#endif

#ifdef CUDA
enum { NO_CONTEXT = 201, MAJOR = 75 };

int cuInit(unsigned flags) { return 0; }
int cuCtxGetDevice(int *device) { return NO_CONTEXT; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal + 7; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    int capability = atoi(getenv("CAPABILITY"));
    if (device != 7) return 101;
    *value = attribute == MAJOR ? capability / 10 : capability % 10;
    return 0;
}
#endif
