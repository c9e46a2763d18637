#if canImport(Vision) && canImport(CoreML)
    import CoreVideo
    import Foundation
    import PortraitKit
    import Vision

    /// Apple's own person segmentation, to compare a package with.
    public struct VisionBaseline: Sendable {
        /// How much time Apple's network may take.
        public enum Quality: Sendable { case fast, balanced, accurate }

        /// How much time Apple's network may take.
        public let quality: Quality

        /// Apple's segmentation at one of its qualities.
        public init(quality: Quality = .accurate) {
            self.quality = quality
        }

        /// P(person) of a still, at the photo's size.
        ///
        /// Every call makes a request of its own: one that is used again may hold on to earlier masks.
        ///
        /// - Parameter photo: upright, sRGB, three channels.
        /// - Throws: `PortraitError.engine` if Vision fails.
        public func probability(of photo: Picture) throws(PortraitError) -> Plane {
            let request = VNGeneratePersonSegmentationRequest()
            request.qualityLevel = level
            request.outputPixelFormat = kCVPixelFormatType_OneComponent8
            let handler = VNImageRequestHandler(cvPixelBuffer: try CVPixelBuffer.bgra(photo), options: [:])
            do {
                try handler.perform([request])
            } catch {
                throw PortraitError.engine(name: "Vision", reason: "\(error)", hint: "")
            }
            guard let observation = request.results?.first else {
                throw PortraitError.engine(name: "Vision", reason: "it gives no mask.", hint: "")
            }
            return try observation.pixelBuffer.maskPlane().resampled(to: photo.size)
        }

        private var level: VNGeneratePersonSegmentationRequest.QualityLevel {
            switch quality {
            case .fast: return .fast
            case .balanced: return .balanced
            case .accurate: return .accurate
            }
        }
    }
#endif
