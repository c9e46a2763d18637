import Foundation
import PortraitKit

/// Picture files as people see them, and pictures as files.
public enum PictureFile {
    /// Larger pictures are refused before they are decoded: twice a 48-megapixel phone photo.
    public static let maxPixels = 100_000_000
    /// Suffixes of the formats that are written.
    public static let writtenSuffixes = ["png", "jpg", "jpeg"]

    /// Reads a photo: EXIF orientation applied, converted to sRGB, transparency laid on white.
    ///
    /// - Returns: three channels, and a sentence for whatever could not be honoured.
    /// - Throws: `PictureFileError`.
    public static func photo(at path: String) throws -> (picture: Picture, notes: [String]) {
        try decoded(path).photo()
    }

    /// Reads a depth map: a gray PNG of 16 or 8 bits, whose largest sample becomes 1.
    ///
    /// - Throws: `PictureFileError`.
    public static func depth(at path: String) throws -> Plane {
        let decoded = try decoded(path)
        guard decoded.channels == 1 else {
            throw PictureFileError.depthHasColor(path: path, channels: decoded.channels)
        }
        return try Plane(size: decoded.size, values: decoded.samples.shares).upright(from: decoded.orientation)
    }

    /// Writes a picture in the format of the path's suffix, whole or not at all.
    ///
    /// - Parameters:
    ///   - picture: one, three or four channels; four as PNG only.
    ///   - path: ends in one of `writtenSuffixes`, in any case.
    /// - Throws: `PictureFileError`.
    public static func write(_ picture: Picture, to path: String) throws {
        let suffix = URL(fileURLWithPath: path).pathExtension.lowercased()
        guard writtenSuffixes.contains(suffix) else {
            throw PictureFileError.unknownSuffix(path: path, known: writtenSuffixes)
        }
        if suffix != "png", picture.channels == 4 {
            throw PictureFileError.cannotWrite(path: path, reason: "JPEG has no transparency; write it as .png")
        }
        let data = try PictureCoder.encode(picture, asPNG: suffix == "png", path: path)
        do {
            try data.write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw PictureFileError.cannotWrite(path: path, reason: error.localizedDescription)
        }
    }

    private static func decoded(_ path: String) throws -> DecodedPicture {
        let data: Data
        do {
            data = try Data(contentsOf: URL(fileURLWithPath: path))
        } catch {
            throw PictureFileError.cannotOpen(path: path, reason: error.localizedDescription)
        }
        return try PictureCoder.decode(data, path: path, maxPixels: maxPixels)
    }
}
