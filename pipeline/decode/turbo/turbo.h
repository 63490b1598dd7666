// The calls of TurboJPEG that belong together, each with the message that comes of it.

#include <stddef.h>
#include <stdio.h>
#include <turbojpeg.h>

enum { DECODED, DECODED_WITH_WARNING, FAILED, HEADER_UNREADABLE, OTHER_SIZE };

// outcome is how decoding went; the size is the one that the library reads in the header.
struct outcome {
	int kind;
	int width, height;
	char message[200]; // JMSG_LENGTH_MAX
};

// encoded is a picture as the library made it; data is to be freed by tjFree.
struct encoded {
	unsigned char *data;
	unsigned long size;
	char message[200];
};

static inline void outcome_set(struct outcome *out, tjhandle handle, int kind) {
	out->kind = kind;
	snprintf(out->message, sizeof out->message, "%s", tjGetErrorStr2(handle));
}

// decode decompresses a picture of width x height into dst: h contiguous rows of w pixels, stride bytes each.
static inline void decode(struct outcome *out, tjhandle handle, const unsigned char *src, unsigned long size,
		int width, int height, unsigned char *dst, int w, int h, int stride, int format) {
	int subsampling, space;
	out->width = out->height = 0;
	// It also fails for samplings that it has no name for, which the decoder itself can do. So its result
	// does not count, but the size does.
	tjDecompressHeader3(handle, src, size, &out->width, &out->height, &subsampling, &space);
	if (out->width == 0) {
		outcome_set(out, handle, HEADER_UNREADABLE);
		return;
	}
	if (out->width != width || out->height != height) {
		out->kind = OTHER_SIZE;
		return;
	}
	// The library distinguishes a warning from a failure only while nothing has failed after a warning. The
	// sure sign is whether it wrote the last row; if that row is as it was before, another content shows it.
	unsigned char *last = dst + (size_t)(h - 1) * stride;
	for (int mark = 0x55; mark <= 0xaa; mark += 0x55) {
		for (int i = 0; i < stride; i++)
			last[i] = (unsigned char)(mark + i);
		if (tjDecompress2(handle, src, size, dst, w, stride, h, format, TJFLAG_LIMITSCANS) == 0) {
			out->kind = DECODED;
			return;
		}
		for (int i = 0; i < stride; i++) {
			if (last[i] != (unsigned char)(mark + i)) {
				outcome_set(out, handle, DECODED_WITH_WARNING);
				return;
			}
		}
	}
	outcome_set(out, handle, FAILED);
}

// encode compresses a picture of RGBX pixels, colour at half the width and height.
static inline int encode(struct encoded *out, const unsigned char *pix, int width, int height, int stride,
		int quality) {
	out->data = NULL;
	out->size = 0;
	tjhandle handle = tjInitCompress();
	int failed = handle == NULL ||
		tjCompress2(handle, pix, width, stride, height, TJPF_RGBX, &out->data, &out->size, TJSAMP_420,
			quality, 0);
	if (failed)
		snprintf(out->message, sizeof out->message, "%s", tjGetErrorStr2(handle));
	if (handle != NULL)
		tjDestroy(handle);
	return failed;
}
