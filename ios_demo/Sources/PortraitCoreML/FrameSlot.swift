#if canImport(CoreML)
    import CoreVideo
    import PortraitKit
    import os

    /// A camera's frame as the camera delivers it.
    public struct CameraFrame {
        /// 32BGRA, upright.
        public let pixels: CVPixelBuffer
        /// Covers what the frame covers, at any resolution; for depth models.
        public let depth: Plane?
    }

    /// Holds the newest frame of a camera until it is taken: the latest frame wins, and no pixel is copied.
    ///
    /// Pixel buffers may not cross threads, except by handing them over: the camera does not touch a frame that it has
    /// put here, and a frame is taken once. That is what the lock's unchecked functions ask for.
    public final class FrameSlot: Sendable {
        /// One element for each frame that can be taken; frames that nobody waited for count once.
        public let arrivals: AsyncStream<Void>
        private let continuation: AsyncStream<Void>.Continuation
        private let newest = OSAllocatedUnfairLock<CameraFrame?>(uncheckedState: nil)

        /// An empty slot.
        public init() {
            (arrivals, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        }

        /// Replaces the frame that waits.
        public func put(_ pixels: CVPixelBuffer, depth: Plane? = nil) {
            newest.withLockUnchecked { $0 = CameraFrame(pixels: pixels, depth: depth) }
            continuation.yield()
        }

        /// The frame that waits, which is then the caller's alone.
        public func take() -> CameraFrame? {
            newest.withLockUnchecked { waiting in
                defer { waiting = nil }
                return waiting
            }
        }

        /// Ends `arrivals`.
        public func finish() { continuation.finish() }
    }
#endif
