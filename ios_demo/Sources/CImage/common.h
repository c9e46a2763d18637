// What the PNG and JPEG readers share.
#ifndef CIMAGE_COMMON_H
#define CIMAGE_COMMON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "CImage.h"

void cimage_say(char *message, const char *text);
uint8_t *cimage_copied(const uint8_t *bytes, size_t size);
int cimage_check_pixels(size_t width, size_t height, size_t max_pixels, char *message);

#endif
