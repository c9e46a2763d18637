#if os(macOS) || os(Linux)
    import Foundation
    import PortraitKit

    /// Runs a package's very bytes by the toolkit's runtime: one Python process, `portrait-export serve`, fed frame after
    /// frame.
    ///
    /// Frames go to it one after the other, on a thread of the engine's own. The process ends with the engine.
    public actor PortraitExportEngine: SegmentationEngine {
        /// The package as the toolkit describes it.
        public nonisolated let description: EngineDescription
        private let toolkit: ToolkitProcess
        private let queue: QueueExecutor
        private var number = 0

        /// The actor's own thread, since waiting for the process blocks.
        public nonisolated var unownedExecutor: UnownedSerialExecutor { queue.asUnownedSerialExecutor() }

        /// Starts the toolkit on a package and waits until it is loaded.
        ///
        /// - Parameters:
        ///   - package: the path of a .mlpackage.
        ///   - toolkit: the `portrait-export` command, a path or a name that is looked up on the PATH.
        /// - Throws: `PortraitError.engine` if the toolkit cannot be started or refuses the package, or as
        ///   `PackageMetadata` throws.
        public init(package: String, toolkit command: String = "portrait-export") throws(PortraitError) {
            let toolkit = try ToolkitProcess(command: command, package: package)
            let hello: Hello = try toolkit.read().header()
            guard hello.protocol == Self.protocolVersion else {
                throw toolkit.failure("it speaks version \(hello.protocol), not \(Self.protocolVersion).")
            }
            description = EngineDescription(
                package: hello.package, runtime: hello.runtime,
                metadata: try PackageMetadata(userDefined: hello.metadata)
            )
            self.toolkit = toolkit
            queue = QueueExecutor(label: "portrait-export serve")
        }

        /// P(person) of a frame, as the protocol says.
        public func probability(of frame: Frame) async throws(PortraitError) -> Plane {
            number += 1
            let size = frame.image.size
            let request = Request(id: number, height: size.height, width: size.width, depth: frame.depth != nil)
            var payload = Data(frame.image.samples)
            if let depth = frame.depth {
                for value in depth.values {
                    withUnsafeBytes(of: value.bitPattern.littleEndian) { payload.append(contentsOf: $0) }
                }
            }
            try toolkit.write(request, payload: payload)
            let message = try toolkit.read()
            let reply: Reply = try message.header()
            if let error = reply.error {
                throw PortraitError.engine(name: description.package, reason: error.message, hint: error.hint)
            }
            guard reply.id == number else {
                throw toolkit.failure("it answered frame \(reply.id) where frame \(number) was sent.")
            }
            return try Plane(size: size, values: message.floats())
        }

        private static let protocolVersion = 1

        private struct Hello: Decodable {
            let `protocol`: Int
            let package: String
            let runtime: String
            let metadata: [String: String]
        }

        private struct Request: Encodable {
            let id: Int
            let height: Int
            let width: Int
            let depth: Bool
        }

        private struct Reply: Decodable {
            struct Failure: Decodable {
                let message: String
                let hint: String
            }

            let id: Int
            let error: Failure?
        }
    }
#endif
