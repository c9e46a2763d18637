#include "common.h"

void cimage_say(char *message, const char *text) {
    snprintf(message, CIMAGE_MESSAGE_SIZE, "%s", text);
}

uint8_t *cimage_copied(const uint8_t *bytes, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    if (copy) memcpy(copy, bytes, size);
    return copy;
}

int cimage_check_pixels(size_t width, size_t height, size_t max_pixels, char *message) {
    if (width == 0 || height == 0 || height > max_pixels / width) {
        snprintf(message, CIMAGE_MESSAGE_SIZE, "it has %zux%zu pixels, and 1 to %zu are read", width, height, max_pixels);
        return 0;
    }
    return 1;
}

void cimage_free(CImage *image) {
    free(image->samples);
    free(image->profile);
    free(image->exif);
    memset(image, 0, sizeof *image);
}

void cimage_free_bytes(uint8_t *bytes) {
    free(bytes);
}
