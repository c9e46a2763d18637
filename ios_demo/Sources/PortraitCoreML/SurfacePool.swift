#if canImport(CoreML)
    import CoreVideo
    import Foundation
    import PortraitKit

    /// Pixel buffers of one kind on IOSurfaces, which the Neural Engine, the GPU and Core Image read and write in place.
    struct SurfacePool {
        /// Rows and columns of every buffer.
        let size: PixelSize
        private let pool: CVPixelBufferPool

        /// - Throws: `PortraitError.engine` if Core Video makes no pool of this kind.
        init(size: PixelSize, format: OSType) throws(PortraitError) {
            let attributes = NSMutableDictionary()
            attributes.setObject(NSNumber(value: size.width), forKey: kCVPixelBufferWidthKey as NSString)
            attributes.setObject(NSNumber(value: size.height), forKey: kCVPixelBufferHeightKey as NSString)
            attributes.setObject(NSNumber(value: format), forKey: kCVPixelBufferPixelFormatTypeKey as NSString)
            attributes.setObject(NSDictionary(), forKey: kCVPixelBufferIOSurfacePropertiesKey as NSString)
            attributes.setObject(NSNumber(value: true), forKey: kCVPixelBufferMetalCompatibilityKey as NSString)
            var created: CVPixelBufferPool?
            let status = CVPixelBufferPoolCreate(nil, nil, attributes as CFDictionary, &created)
            guard let pool = created, status == kCVReturnSuccess else { throw Self.failure(size, status) }
            self.size = size
            self.pool = pool
        }

        /// A buffer that nobody uses.
        func buffer() throws(PortraitError) -> CVPixelBuffer {
            var created: CVPixelBuffer?
            let status = CVPixelBufferPoolCreatePixelBuffer(nil, pool, &created)
            guard let buffer = created, status == kCVReturnSuccess else { throw Self.failure(size, status) }
            return buffer
        }

        private static func failure(_ size: PixelSize, _ status: CVReturn) -> PortraitError {
            PortraitError.engine(
                name: "Core Video", reason: "it makes no surface of \(size) pixels (status \(status)).", hint: "")
        }
    }

    /// What the network reads and what it writes, for frames of one size.
    struct LiveSurfaces {
        let frames: SurfacePool
        let masks: SurfacePool

        init(size: PixelSize, maskFormat: OSType) throws(PortraitError) {
            frames = try SurfacePool(size: size, format: kCVPixelFormatType_32BGRA)
            masks = try SurfacePool(size: size, format: maskFormat)
        }
    }
#endif
