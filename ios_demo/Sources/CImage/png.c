// PNG by libpng, sample for sample as Pillow reads it: gamma chunks change nothing.
#include <png.h>
#include <setjmp.h>

#include "common.h"

typedef struct {
    const uint8_t *bytes;
    size_t size;
    size_t offset;
} Source;

typedef struct {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
} Sink;

static void fail(png_structp png, png_const_charp text) {
    cimage_say(png_get_error_ptr(png), text);
    longjmp(png_jmpbuf(png), 1);
}

static void ignore(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static void take(png_structp png, png_bytep out, size_t count) {
    Source *source = png_get_io_ptr(png);
    if (count > source->size - source->offset) png_error(png, "it is truncated");
    memcpy(out, source->bytes + source->offset, count);
    source->offset += count;
}

static void keep_metadata(png_structp png, png_infop info, CImage *out) {
    png_charp name;
    int method;
    png_bytep profile;
    png_uint_32 profile_size;
    if (png_get_iCCP(png, info, &name, &method, &profile, &profile_size)) {
        out->profile = cimage_copied(profile, profile_size);
        out->profile_size = profile_size;
    }
    png_bytep exif;
    png_uint_32 exif_size;
    if (png_get_eXIf_1(png, info, &exif_size, &exif)) {
        out->exif = cimage_copied(exif, exif_size);
        out->exif_size = exif_size;
    }
}

int cimage_read_png(const uint8_t *bytes, size_t size, size_t max_pixels, CImage *out, char *message) {
    memset(out, 0, sizeof *out);
    cimage_say(message, "there is not enough memory");
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, message, fail, ignore);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    Source source = {bytes, size, 0};
    png_bytepp volatile rows = NULL;
    if (!info || setjmp(png_jmpbuf(png))) {
        png_destroy_read_struct(&png, &info, NULL);
        free((void *)rows);
        cimage_free(out);
        return 0;
    }
    png_set_read_fn(png, &source, take);
    png_read_info(png, info);
    out->width = png_get_image_width(png, info);
    out->height = png_get_image_height(png, info);
    char problem[CIMAGE_MESSAGE_SIZE];
    if (!cimage_check_pixels(out->width, out->height, max_pixels, problem)) png_error(png, problem);
    if (png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (png_get_bit_depth(png, info) < 8) png_set_expand_gray_1_2_4_to_8(png);
    if (png_get_valid(png, info, PNG_INFO_tRNS)) png_set_tRNS_to_alpha(png);
    const uint16_t one = 1;
    if (*(const uint8_t *)&one == 1) png_set_swap(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    out->channels = png_get_channels(png, info);
    out->bits = png_get_bit_depth(png, info);
    const size_t pitch = png_get_rowbytes(png, info);
    out->samples = malloc(pitch * out->height);
    rows = malloc(sizeof(png_bytep) * out->height);
    if (!out->samples || !rows) png_error(png, "there is not enough memory");
    for (size_t row = 0; row < out->height; row++) rows[row] = out->samples + row * pitch;
    png_read_image(png, rows);
    png_read_end(png, info);
    keep_metadata(png, info, out);
    png_destroy_read_struct(&png, &info, NULL);
    free((void *)rows);
    return 1;
}

static void put(png_structp png, png_bytep bytes, size_t count) {
    Sink *sink = png_get_io_ptr(png);
    if (count > sink->capacity - sink->size) {
        const size_t capacity = 2 * (sink->size + count);
        uint8_t *larger = realloc(sink->bytes, capacity);
        if (!larger) png_error(png, "there is not enough memory");
        sink->bytes = larger;
        sink->capacity = capacity;
    }
    memcpy(sink->bytes + sink->size, bytes, count);
    sink->size += count;
}

static void flush(png_structp png) {
    (void)png;
}

int cimage_write_png(const uint8_t *samples, size_t width, size_t height, int channels, uint8_t **bytes, size_t *size,
                     char *message) {
    static const int types[] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGBA};
    Sink sink = {NULL, 0, 0};
    Sink *volatile target = &sink;
    cimage_say(message, "there is not enough memory");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, message, fail, ignore);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info || setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        free(target->bytes);
        return 0;
    }
    png_set_write_fn(png, &sink, put, flush);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, types[channels], PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (size_t row = 0; row < height; row++) png_write_row(png, samples + row * width * channels);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    *bytes = sink.bytes;
    *size = sink.size;
    return 1;
}
