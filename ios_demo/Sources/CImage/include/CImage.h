// PNG and JPEG files in memory as plain samples, by libpng and libjpeg. C, because both report errors by longjmp.
#ifndef CIMAGE_H
#define CIMAGE_H

#include <stddef.h>
#include <stdint.h>

#define CIMAGE_MESSAGE_SIZE 200

// A decoded picture. The caller frees it with cimage_free.
typedef struct {
    uint8_t *samples;   // height rows of width * channels * (bits / 8) bytes; 16-bit samples in the machine's order
    size_t width;
    size_t height;
    int channels;       // 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and straight alpha
    int bits;           // 8 or 16
    uint8_t *profile;   // the embedded ICC profile, or NULL
    size_t profile_size;
    uint8_t *exif;      // the EXIF block from its TIFF header on, or NULL
    size_t exif_size;
} CImage;

// Each returns 1, or 0 with a message. `max_pixels` is checked from the header, before anything is decoded.
int cimage_read_png(const uint8_t *bytes, size_t size, size_t max_pixels, CImage *out, char *message);
int cimage_read_jpeg(const uint8_t *bytes, size_t size, size_t max_pixels, CImage *out, char *message);
void cimage_free(CImage *image);

// 8-bit samples as a file. The caller frees *bytes with cimage_free_bytes.
int cimage_write_png(const uint8_t *samples, size_t width, size_t height, int channels, uint8_t **bytes, size_t *size,
                     char *message);
int cimage_write_jpeg(const uint8_t *samples, size_t width, size_t height, int channels, int quality, uint8_t **bytes,
                      size_t *size, char *message);
void cimage_free_bytes(uint8_t *bytes);

#endif
