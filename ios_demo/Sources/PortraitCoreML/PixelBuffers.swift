#if canImport(CoreML)
    import CoreML
    import CoreVideo
    import Foundation
    import PortraitKit

    extension CVPixelBuffer {
        /// An sRGB picture of three channels as 32BGRA, backed by an IOSurface so that accelerators read it in place.
        static func bgra(_ picture: Picture) throws(PortraitError) -> CVPixelBuffer {
            let attributes = NSMutableDictionary()
            attributes.setObject(NSDictionary(), forKey: kCVPixelBufferIOSurfacePropertiesKey as NSString)
            var created: CVPixelBuffer?
            let status = CVPixelBufferCreate(
                nil, picture.size.width, picture.size.height, kCVPixelFormatType_32BGRA, attributes as CFDictionary,
                &created)
            guard let buffer = created, status == kCVReturnSuccess else {
                throw PortraitError.engine(
                    name: "Core Video", reason: "it makes no buffer of \(picture.size) pixels (status \(status)).",
                    hint: "")
            }
            try buffer.withBytes(readOnly: false) { memory in
                let rowStride = CVPixelBufferGetBytesPerRow(buffer)
                for row in 0..<picture.size.height {
                    for column in 0..<picture.size.width {
                        let source = (row * picture.size.width + column) * 3
                        let target = row * rowStride + column * 4
                        memory[target] = picture.samples[source + 2]
                        memory[target + 1] = picture.samples[source + 1]
                        memory[target + 2] = picture.samples[source]
                        memory[target + 3] = 255
                    }
                }
            }
            return buffer
        }

        /// A camera's disparity as a depth map for depth models: 0..1, larger is nearer.
        ///
        /// - Throws: `PortraitError.outOfRange` for a buffer of another format than kCVPixelFormatType_DisparityFloat32.
        public func depthPlane() throws(PortraitError) -> Plane {
            let format = CVPixelBufferGetPixelFormatType(self)
            guard format == kCVPixelFormatType_DisparityFloat32 else {
                throw PortraitError.outOfRange(
                    what: "A depth map's pixel format", allowed: "32-bit disparity", found: Double(format))
            }
            return Plane(disparity: try plane(format: .float32))
        }

        /// A one-channel buffer as P(person), whatever its row padding.
        func maskPlane() throws(PortraitError) -> Plane {
            let formats: [OSType: StridedSamples.Format] = [
                kCVPixelFormatType_OneComponent8: .uint8, kCVPixelFormatType_OneComponent16Half: .float16,
                kCVPixelFormatType_OneComponent32Float: .float32,
            ]
            guard let format = formats[CVPixelBufferGetPixelFormatType(self)] else {
                throw PortraitError.outOfRange(
                    what: "A mask's pixel format", allowed: "one component of 8, 16 or 32 bits",
                    found: Double(CVPixelBufferGetPixelFormatType(self)))
            }
            return try plane(format: format)
        }

        private func plane(format: StridedSamples.Format) throws(PortraitError) -> Plane {
            let samples = StridedSamples(
                size: PixelSize(height: CVPixelBufferGetHeight(self), width: CVPixelBufferGetWidth(self)),
                format: format, rowStride: CVPixelBufferGetBytesPerRow(self))
            var plane = Plane(size: samples.size, constant: 0)
            try withBytes(readOnly: true) { (memory) throws(PortraitError) in
                plane = try samples.plane(from: UnsafeRawBufferPointer(memory))
            }
            return plane
        }

        /// The buffer's memory while it is locked.
        fileprivate func withBytes(
            readOnly: Bool, _ body: (UnsafeMutableRawBufferPointer) throws(PortraitError) -> Void
        ) throws(PortraitError) {
            let flags: CVPixelBufferLockFlags = readOnly ? .readOnly : []
            CVPixelBufferLockBaseAddress(self, flags)
            defer { CVPixelBufferUnlockBaseAddress(self, flags) }
            let count = CVPixelBufferGetBytesPerRow(self) * CVPixelBufferGetHeight(self)
            try body(UnsafeMutableRawBufferPointer(start: CVPixelBufferGetBaseAddress(self), count: count))
        }
    }

    extension Picture {
        /// A 32BGRA buffer, such as a camera's frame, as an sRGB picture of three channels, whatever its row padding.
        ///
        /// - Throws: `PortraitError.outOfRange` for a buffer of another format.
        public init(bgra buffer: CVPixelBuffer) throws(PortraitError) {
            let format = CVPixelBufferGetPixelFormatType(buffer)
            guard format == kCVPixelFormatType_32BGRA else {
                throw PortraitError.outOfRange(what: "A frame's format", allowed: "32BGRA", found: Double(format))
            }
            let size = PixelSize(height: CVPixelBufferGetHeight(buffer), width: CVPixelBufferGetWidth(buffer))
            var samples = [UInt8](repeating: 0, count: size.pixelCount * 3)
            try buffer.withBytes(readOnly: true) { memory in
                let rowStride = CVPixelBufferGetBytesPerRow(buffer)
                for row in 0..<size.height {
                    for column in 0..<size.width {
                        let source = row * rowStride + column * 4
                        let target = (row * size.width + column) * 3
                        samples[target] = memory[source + 2]
                        samples[target + 1] = memory[source + 1]
                        samples[target + 2] = memory[source]
                    }
                }
            }
            try self.init(size: size, channels: 3, samples: samples)
        }
    }

    extension MLMultiArray {
        /// A depth map as an array of shape [1, 1, H, W].
        static func depth(_ plane: Plane) throws -> MLMultiArray {
            let shape = [1, 1, plane.size.height, plane.size.width].map { NSNumber(value: $0) }
            let array = try MLMultiArray(shape: shape, dataType: .float32)
            array.withUnsafeMutableBytes { memory, strides in
                for row in 0..<plane.size.height {
                    for column in 0..<plane.size.width {
                        memory.storeBytes(
                            of: plane.values[row * plane.size.width + column],
                            toByteOffset: (row * strides[2] + column * strides[3]) * 4, as: Float.self)
                    }
                }
            }
            return array
        }

        /// An array whose last two dimensions are the mask's rows and columns, whatever its strides.
        func maskPlane() throws(PortraitError) -> Plane {
            let formats: [MLMultiArrayDataType: StridedSamples.Format] = [.float16: .float16, .float32: .float32]
            guard let format = formats[dataType] else {
                throw PortraitError.outOfRange(
                    what: "A mask's data type", allowed: "float16 or float32", found: Double(dataType.rawValue))
            }
            let samples = try StridedSamples(
                shape: shape.map(\.intValue), strides: strides.map(\.intValue), format: format)
            do {
                return try withUnsafeBytes { try samples.plane(from: $0) }
            } catch let error as PortraitError {
                throw error
            } catch {
                throw PortraitError.engine(name: "MLMultiArray", reason: "\(error)", hint: "")
            }
        }
    }
#endif
