// JPEG by libjpeg: gray and colour, with the ICC profile and EXIF block as they are embedded.
#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

#include "common.h"

typedef struct {
    struct jpeg_error_mgr base;
    jmp_buf escape;
    char *message;
} Errors;

static void fail(j_common_ptr info) {
    Errors *errors = (Errors *)info->err;
    char text[JMSG_LENGTH_MAX];
    errors->base.format_message(info, text);
    cimage_say(errors->message, text);
    longjmp(errors->escape, 1);
}

// libjpeg goes on with damaged data and warns; a photo with gray bars in it is not what was asked for.
static void warn(j_common_ptr info, int level) {
    if (level < 0) fail(info);
}

static void keep_metadata(struct jpeg_decompress_struct *info, CImage *out) {
    for (jpeg_saved_marker_ptr marker = info->marker_list; marker; marker = marker->next) {
        const int is_exif = marker->marker == JPEG_APP0 + 1 && marker->data_length > 6 &&
                            memcmp(marker->data, "Exif\0\0", 6) == 0;
        if (is_exif && !out->exif) {
            out->exif_size = marker->data_length - 6;
            out->exif = cimage_copied(marker->data + 6, out->exif_size);
        }
    }
    JOCTET *profile;
    unsigned int profile_size;
    if (jpeg_read_icc_profile(info, &profile, &profile_size)) {
        out->profile = profile;
        out->profile_size = profile_size;
    }
}

int cimage_read_jpeg(const uint8_t *bytes, size_t size, size_t max_pixels, CImage *out, char *message) {
    memset(out, 0, sizeof *out);
    struct jpeg_decompress_struct info;
    Errors errors;
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = fail;
    errors.base.emit_message = warn;
    errors.message = message;
    if (setjmp(errors.escape)) {
        jpeg_destroy_decompress(&info);
        cimage_free(out);
        return 0;
    }
    jpeg_create_decompress(&info);
    jpeg_save_markers(&info, JPEG_APP0 + 1, 0xFFFF);
    jpeg_save_markers(&info, JPEG_APP0 + 2, 0xFFFF);
    jpeg_mem_src(&info, bytes, size);
    jpeg_read_header(&info, TRUE);
    if (!cimage_check_pixels(info.image_width, info.image_height, max_pixels, message)) longjmp(errors.escape, 1);
    if (info.num_components != 1 && info.num_components != 3) {
        cimage_say(message, "its colours are CMYK, and gray, RGB and YCbCr are read");
        longjmp(errors.escape, 1);
    }
    info.out_color_space = info.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(&info);
    out->width = info.output_width;
    out->height = info.output_height;
    out->channels = info.output_components;
    out->bits = 8;
    const size_t pitch = out->width * out->channels;
    out->samples = malloc(pitch * out->height);
    if (!out->samples) {
        cimage_say(message, "there is not enough memory");
        longjmp(errors.escape, 1);
    }
    while (info.output_scanline < info.output_height) {
        JSAMPROW row = out->samples + info.output_scanline * pitch;
        jpeg_read_scanlines(&info, &row, 1);
    }
    keep_metadata(&info, out);
    jpeg_finish_decompress(&info);
    jpeg_destroy_decompress(&info);
    return 1;
}

int cimage_write_jpeg(const uint8_t *samples, size_t width, size_t height, int channels, int quality, uint8_t **bytes,
                      size_t *size, char *message) {
    struct jpeg_compress_struct info;
    Errors errors;
    unsigned char *volatile buffer = NULL;
    unsigned long length = 0;
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = fail;
    errors.message = message;
    if (setjmp(errors.escape)) {
        jpeg_destroy_compress(&info);
        free(buffer);
        return 0;
    }
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, (unsigned char **)&buffer, &length);
    info.image_width = (JDIMENSION)width;
    info.image_height = (JDIMENSION)height;
    info.input_components = channels;
    info.in_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, quality, TRUE);
    for (int component = 0; component < info.num_components; component++) {  // chroma at full resolution
        info.comp_info[component].h_samp_factor = 1;
        info.comp_info[component].v_samp_factor = 1;
    }
    jpeg_start_compress(&info, TRUE);
    while (info.next_scanline < info.image_height) {
        JSAMPROW row = (JSAMPROW)(samples + info.next_scanline * width * channels);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    *bytes = buffer;
    *size = length;
    return 1;
}
