#if canImport(CImage)
    import CImage
    import Foundation
    import PortraitKit

    /// PNG and JPEG by libpng and libjpeg.
    enum PictureCoder {
        private static let jpegQuality: Int32 = 95

        static func decode(_ data: Data, path: String, maxPixels: Int) throws -> DecodedPicture {
            let bytes = [UInt8](data)
            let read:
                (UnsafePointer<UInt8>?, Int, Int, UnsafeMutablePointer<CImage>?, UnsafeMutablePointer<CChar>?)
                    -> Int32
            if bytes.starts(with: [0x89, 0x50, 0x4E, 0x47]) {
                read = cimage_read_png
            } else if bytes.starts(with: [0xFF, 0xD8]) {
                read = cimage_read_jpeg
            } else {
                throw PictureFileError.unknownKind(path: path, firstBytes: Array(bytes.prefix(8)))
            }
            var image = CImage()
            var message = [CChar](repeating: 0, count: Int(CIMAGE_MESSAGE_SIZE))
            guard read(bytes, bytes.count, maxPixels, &image, &message) == 1 else {
                throw PictureFileError.damaged(path: path, reason: text(message))
            }
            defer { cimage_free(&image) }
            return DecodedPicture(
                size: PixelSize(height: image.height, width: image.width), channels: Int(image.channels),
                samples: samples(of: image), profile: copied(image.profile, image.profile_size),
                orientation: Orientation(exif: copied(image.exif, image.exif_size))
            )
        }

        static func encode(_ picture: Picture, asPNG: Bool, path: String) throws -> Data {
            var bytes: UnsafeMutablePointer<UInt8>?
            var count = 0
            var message = [CChar](repeating: 0, count: Int(CIMAGE_MESSAGE_SIZE))
            let (height, width, channels) = (picture.size.height, picture.size.width, Int32(picture.channels))
            let done =
                asPNG
                ? cimage_write_png(picture.samples, width, height, channels, &bytes, &count, &message)
                : cimage_write_jpeg(picture.samples, width, height, channels, jpegQuality, &bytes, &count, &message)
            guard done == 1, let bytes else {
                throw PictureFileError.cannotWrite(path: path, reason: text(message))
            }
            defer { cimage_free_bytes(bytes) }
            return Data(bytes: bytes, count: count)
        }

        private static func samples(of image: CImage) -> DecodedPicture.Samples {
            let count = image.width * image.height * Int(image.channels)
            let raw = UnsafeRawBufferPointer(start: image.samples, count: count * Int(image.bits) / 8)
            return image.bits == 16 ? .sixteenBit(Array(raw.bindMemory(to: UInt16.self))) : .eightBit(Array(raw))
        }

        private static func copied(_ bytes: UnsafeMutablePointer<UInt8>?, _ count: Int) -> [UInt8] {
            Array(UnsafeBufferPointer(start: bytes, count: bytes == nil ? 0 : count))
        }

        private static func text(_ message: [CChar]) -> String {
            String(decoding: message.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        }
    }
#endif
