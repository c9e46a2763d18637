import PortraitKit

/// A picture file that cannot be read or written.
public enum PictureFileError: Error, Equatable, Sendable {
    /// The file cannot be opened; the system's reason.
    case cannotOpen(path: String, reason: String)
    /// The file is not a picture of a kind that is read; its first bytes.
    case unknownKind(path: String, firstBytes: [UInt8])
    /// The file's content cannot be decoded; the decoder's reason.
    case damaged(path: String, reason: String)
    /// A depth map with more than one channel.
    case depthHasColor(path: String, channels: Int)
    /// The file's suffix names a kind that is not written; those that are.
    case unknownSuffix(path: String, known: [String])
    /// The picture cannot be written in this format.
    case cannotWrite(path: String, reason: String)
}

extension PictureFileError: CustomStringConvertible {
    /// What was asked for, what was found and what to do next.
    public var description: String {
        switch self {
        case .cannotOpen(let path, let reason): return "Cannot open \(path): \(reason)."
        case .unknownKind(let path, let bytes):
            return "\(path) is neither PNG nor JPEG: it starts with \(bytes). Convert it first."
        case .damaged(let path, let reason): return "\(path) cannot be decoded: \(reason)."
        case .depthHasColor(let path, let channels):
            return "\(path) has \(channels) channels; a depth map is 8- or 16-bit gray PNG."
        case .unknownSuffix(let path, let known):
            return "\(path): pictures are written as \(known.joined(separator: ", "))."
        case .cannotWrite(let path, let reason): return "Cannot write \(path): \(reason)."
        }
    }
}
