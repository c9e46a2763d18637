import Foundation
import PortraitImages
import PortraitKit

/// One of the pictures that the demo makes, by the names that `portrait-export segment` gives them.
struct NamedLook {
    let name: String
    let look: Look

    static let names = ["mask", "cutout", "replace", "blur"]

    /// The looks that a command line asks for; `cutout` without `--as`.
    static func read(_ arguments: Arguments) throws -> [NamedLook] {
        let asked = arguments.all("--as").isEmpty ? ["cutout"] : arguments.all("--as")
        for (option, name) in [("--background", "replace"), ("--blur", "blur")]
        where arguments.last(option) != nil && !asked.contains(name) {
            throw UsageError(description: "\(option) goes with --as \(name).")
        }
        return try asked.map { name in NamedLook(name: name, look: try look(name, arguments)) }
    }

    private static func look(_ name: String, _ arguments: Arguments) throws -> Look {
        switch name {
        case "mask": return .mask
        case "cutout": return .cutOut
        case "replace": return .replaced(try background(arguments.last("--background")))
        case "blur": return .blurred(sigma: try arguments.number("--blur"))
        default:
            throw UsageError(description: "There is no look \(name); the looks are \(names.joined(separator: ", ")).")
        }
    }

    /// A colour such as `#1e90ff`, `white`, or a picture's path.
    private static func background(_ text: String?) throws -> Background {
        guard let text else { return .white }
        if FileManager.default.fileExists(atPath: text) { return .picture(try PictureFile.photo(at: text).picture) }
        let named = ["white": "#ffffff", "black": "#000000", "red": "#ff0000", "green": "#008000", "blue": "#0000ff"]
        let digits = (named[text.lowercased()] ?? text).drop { $0 == "#" }
        guard digits.count == 6, let value = UInt32(digits, radix: 16) else {
            let known = named.keys.sorted().joined(separator: ", ")
            throw UsageError(description: "\(text) is neither a file nor a colour; write #1e90ff, or one of \(known).")
        }
        return .color(
            red: UInt8(value >> 16), green: UInt8(value >> 8 & 0xff), blue: UInt8(value & 0xff))
    }
}

/// What is done to a mask before pictures are made from it.
struct MaskTreatment {
    let refines: Bool
    let islandShare: Double?
    let featherRadius: Double?
    let estimatesColors: Bool

    static let options = ["--islands", "--feather"]
    static let flags = ["--no-refine", "--photo-colors"]

    init(_ arguments: Arguments) throws {
        refines = !arguments.has("--no-refine")
        islandShare = try arguments.number("--islands")
        featherRadius = try arguments.number("--feather")
        estimatesColors = !arguments.has("--photo-colors")
    }

    /// The compositor of a segmented photo.
    func compositor(_ photo: Picture, _ found: Segmentation, threshold: Double) throws -> Compositor {
        var mask = refines ? try found.refinedMask(along: photo) : found.mask
        if let islandShare { mask = mask.withoutIslands(share: islandShare, threshold: Float(threshold)) }
        if let featherRadius { mask = mask.feathered(radius: featherRadius, threshold: Float(threshold)) }
        return try Compositor(photo: photo, mask: mask, estimatesColors: estimatesColors)
    }
}
