#if canImport(ImageIO)
    import CoreGraphics
    import Foundation
    import ImageIO
    import PortraitKit
    import UniformTypeIdentifiers

    /// Pictures by ImageIO, drawn into sRGB by Core Graphics.
    enum PictureCoder {
        private static let jpegQuality = 0.95

        static func decode(_ data: Data, path: String, maxPixels: Int) throws -> DecodedPicture {
            guard let source = CGImageSourceCreateWithData(data as CFData, nil),
                let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
            else { throw PictureFileError.unknownKind(path: path, firstBytes: Array(data.prefix(8))) }
            guard image.height > 0, image.width <= maxPixels / image.height else {
                throw PictureFileError.damaged(path: path, reason: "it has \(image.width)x\(image.height) pixels")
            }
            let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
            let exif = properties?[kCGImagePropertyOrientation] as? Int
            let size = PixelSize(height: image.height, width: image.width)
            let isGray = image.colorSpace?.model == .monochrome
            return DecodedPicture(
                size: size, channels: isGray ? 1 : 3,
                samples: isGray ? try gray(image, size, path) : try color(image, size, path), profile: [],
                orientation: exif.flatMap(Orientation.init(rawValue:)) ?? .upright
            )
        }

        static func encode(_ picture: Picture, asPNG: Bool, path: String) throws -> Data {
            let failure = PictureFileError.cannotWrite(path: path, reason: "ImageIO does not encode it")
            let (width, channels) = (picture.size.width, picture.channels)
            let space = CGColorSpace(name: channels == 1 ? CGColorSpace.linearGray : CGColorSpace.sRGB)
            let alpha: CGImageAlphaInfo = channels == 4 ? .last : .none
            guard let provider = CGDataProvider(data: Data(picture.samples) as CFData), let space,
                let image = CGImage(
                    width: width, height: picture.size.height, bitsPerComponent: 8, bitsPerPixel: 8 * channels,
                    bytesPerRow: width * channels, space: space, bitmapInfo: CGBitmapInfo(rawValue: alpha.rawValue),
                    provider: provider, decode: nil, shouldInterpolate: false, intent: .defaultIntent)
            else { throw failure }
            let data = NSMutableData()
            let type = (asPNG ? UTType.png : UTType.jpeg).identifier as CFString
            guard let destination = CGImageDestinationCreateWithData(data, type, 1, nil) else { throw failure }
            let options = [kCGImageDestinationLossyCompressionQuality: jpegQuality] as CFDictionary
            CGImageDestinationAddImage(destination, image, options)
            guard CGImageDestinationFinalize(destination) else { throw failure }
            return data as Data
        }

        /// Three channels in sRGB, transparency laid on white.
        private static func color(
            _ image: CGImage, _ size: PixelSize, _ path: String
        ) throws -> DecodedPicture.Samples {
            var pixels = [UInt8](repeating: 255, count: size.pixelCount * 4)
            let drawn = pixels.withUnsafeMutableBytes { memory in
                draw(image, size, into: memory, bytes: 4, CGColorSpace.sRGB, CGImageAlphaInfo.noneSkipLast.rawValue)
            }
            guard drawn else { throw PictureFileError.damaged(path: path, reason: "Core Graphics cannot draw it") }
            return .eightBit(pixels.enumerated().filter { $0.offset % 4 != 3 }.map(\.element))
        }

        /// One channel of 16 bits, as depth maps have it.
        private static func gray(
            _ image: CGImage, _ size: PixelSize, _ path: String
        ) throws -> DecodedPicture.Samples {
            var pixels = [UInt16](repeating: .max, count: size.pixelCount)
            let order = CGImageByteOrderInfo.order16Little.rawValue | CGImageAlphaInfo.none.rawValue
            let space = image.colorSpace?.name as String? ?? CGColorSpace.genericGrayGamma2_2 as String
            let drawn = pixels.withUnsafeMutableBytes { memory in
                draw(image, size, into: memory, bytes: 2, space as CFString, order)
            }
            guard drawn else { throw PictureFileError.damaged(path: path, reason: "Core Graphics cannot draw it") }
            return .sixteenBit(pixels)
        }

        private static func draw(
            _ image: CGImage, _ size: PixelSize, into memory: UnsafeMutableRawBufferPointer, bytes: Int,
            _ space: CFString, _ layout: UInt32
        ) -> Bool {
            guard let space = CGColorSpace(name: space),
                let context = CGContext(
                    data: memory.baseAddress, width: size.width, height: size.height,
                    bitsPerComponent: bytes == 4 ? 8 : 16, bytesPerRow: size.width * bytes, space: space,
                    bitmapInfo: layout)
            else { return false }
            context.draw(image, in: CGRect(x: 0, y: 0, width: size.width, height: size.height))
            return true
        }
    }
#endif
