/// What can go wrong between a photo and its picture. Each case holds what was asked for and what was found.
public enum PortraitError: Error, Equatable, Sendable {
    /// The package's metadata has no PortraitSpec; the keys that it has.
    case noSpec(foundKeys: [String])
    /// The package's PortraitSpec cannot be used.
    case spec(SpecError)
    /// The package's list of input sizes cannot be read.
    case sizes(found: String)
    /// Samples that do not fill a picture of the size that was asked for.
    case sampleCount(expected: Int, found: Int)
    /// A raster of another size than is needed; `what` names it.
    case sizeMismatch(what: String, expected: PixelSize, found: PixelSize)
    /// A picture with another number of channels than is needed.
    case channels(what: String, expected: Int, found: Int)
    /// A mask with values outside of 0..1, or NaN.
    case notAProbability(low: Float, high: Float)
    /// A depth map with values that are not finite.
    case depthNotFinite
    /// A depth model without a depth map.
    case depthMissing(model: String)
    /// A depth map for a model that reads the photo alone.
    case depthNotRead(model: String)
    /// Strides that reach beyond the buffer they describe.
    case buffer(needed: Int, found: Int)
    /// A value outside of its range; `allowed` describes the range.
    case outOfRange(what: String, allowed: String, found: Double)
    /// An engine that could not start or run.
    case engine(name: String, reason: String, hint: String)
}

extension PortraitError: CustomStringConvertible {
    /// What was asked for, what was found and, where something can be done, what to do next.
    public var description: String {
        switch self {
        case .noSpec(let keys):
            let found = keys.isEmpty ? "no user-defined keys" : keys.joined(separator: ", ")
            return "The package's metadata has no \(PackageMetadata.specKey); found \(found)."
                + " Export it with `portrait-export coreml`."
        case .spec(let error): return "\(error)"
        case .sizes(let found):
            return "\(PackageMetadata.sizesKey) must list sizes such as 256x256,512x512; found \(found)."
        case .sampleCount(let expected, let found): return "The picture needs \(expected) samples; found \(found)."
        case .sizeMismatch(let what, let expected, let found):
            return "The \(what) must be \(expected) (height x width) pixels; found \(found)."
        case .channels(let what, let expected, let found):
            return "The \(what) must have \(expected) channels; found \(found)."
        case .notAProbability(let low, let high):
            return "A mask holds P(person), 0..1; found values from \(low) to \(high)."
        case .depthNotFinite: return "A depth map holds finite values; found NaN or an infinity."
        case .depthMissing(let model): return "\(model) reads a depth map beside the photo, and none was given."
        case .depthNotRead(let model): return "\(model) reads the photo alone, and a depth map was given."
        case .buffer(let needed, let found):
            return "The strides reach \(needed) bytes into the buffer, which holds \(found)."
        case .outOfRange(let what, let allowed, let found): return "\(what) must be \(allowed); found \(found)."
        case .engine(let name, let reason, let hint): return "\(name): \(reason)" + (hint.isEmpty ? "" : " \(hint)")
        }
    }
}
