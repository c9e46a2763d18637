#if canImport(CoreML) && canImport(Metal)
    import CoreImage
    import CoreVideo
    import Foundation
    import Metal
    import PortraitKit
    import QuartzCore
    import os

    /// What is drawn of a camera's frame and its mask.
    public enum LiveLook: Sendable {
        /// The tint alone, translucent, for a layer above the camera's preview.
        case overlay
        /// The person on nothing.
        case cutOut
        /// The person on white.
        case replaced
        /// The person in front of the blurred background.
        case blurred
        /// The mask, white = person.
        case mask
    }

    /// Places camera frames for the network and draws masks, both on the GPU.
    ///
    /// Colours are mixed as stored, without colour management, as `Compositor` mixes them. The edges are the network's
    /// own: `Compositor` refines them and estimates the person's colours, this does not.
    ///
    /// Core Image, Metal's queue and the layer are used by one frame at a time, under a lock.
    public final class LiveRenderer: Sendable {
        private struct Parts {
            let layer: CAMetalLayer
            let queue: any MTLCommandQueue
            let context: CIContext
            let space: CGColorSpace
        }

        private let parts: OSAllocatedUnfairLock<Parts>

        /// Draws into a layer, which becomes translucent.
        ///
        /// - Throws: `PortraitError.engine` without a GPU.
        public init(layer: CAMetalLayer) throws(PortraitError) {
            guard let device = MTLCreateSystemDefaultDevice(), let queue = device.makeCommandQueue(),
                let space = CGColorSpace(name: CGColorSpace.sRGB)
            else { throw PortraitError.engine(name: "Metal", reason: "it finds no GPU.", hint: "") }
            layer.device = device
            layer.pixelFormat = .bgra8Unorm
            layer.framebufferOnly = false  // Core Image writes by compute kernels
            layer.isOpaque = false
            layer.contentsGravity = .resizeAspect
            let context = CIContext(
                mtlCommandQueue: queue, options: [.workingColorSpace: NSNull(), .cacheIntermediates: false])
            parts = OSAllocatedUnfairLock(
                uncheckedState: Parts(layer: layer, queue: queue, context: context, space: space))
        }

        /// Brings a camera's frame to the network's input, black where it does not cover it.
        ///
        /// Core Image resamples it, so the frame is not exactly the one that `Placement.image` makes.
        func place(_ pixels: CVPixelBuffer, by placement: Placement, into input: CVPixelBuffer) {
            let whole = CGRect(UpwardBox(Box(covering: placement.frame), in: placement.frame))
            let map = UpwardMap(from: placement.upwardSource, to: placement.upwardTarget)
            let seen = Self.image(pixels)
                .cropped(to: CGRect(placement.upwardSource)).clampedToExtent()
                .transformed(by: CGAffineTransform(map), highQualityDownsample: true)
                .cropped(to: CGRect(placement.upwardTarget))
            let image = seen.composited(over: CIImage(color: .black).cropped(to: whole))
            parts.withLockUnchecked { parts in
                parts.context.render(image, to: input, bounds: whole, colorSpace: nil)
            }
        }

        /// Draws a frame with its mask and waits for the GPU, so that the buffers can be used again.
        ///
        /// - Returns: false if the layer had no room for another picture; the frame is then not shown.
        func draw(_ pixels: CVPixelBuffer, mask: CVPixelBuffer, by placement: Placement, as look: LiveLook) -> Bool {
            let photo = Self.image(pixels)
            let shares = Self.image(mask)
                .cropped(to: CGRect(placement.upwardTarget)).clampedToExtent()
                .transformed(by: CGAffineTransform(UpwardMap(from: placement.upwardTarget, to: placement.upwardSource)))
                .cropped(to: CGRect(placement.upwardSource))
            let image = Self.composed(look, photo, shares)
            return parts.withLockUnchecked { parts in
                parts.layer.drawableSize = photo.extent.size
                guard let drawable = parts.layer.nextDrawable(), let commands = parts.queue.makeCommandBuffer() else {
                    return false
                }
                parts.context.render(
                    image, to: drawable.texture, commandBuffer: commands, bounds: photo.extent, colorSpace: parts.space)
                commands.present(drawable)
                commands.commit()
                commands.waitUntilCompleted()
                return true
            }
        }

        /// The samples as they are stored.
        private static func image(_ pixels: CVPixelBuffer) -> CIImage {
            CIImage(cvPixelBuffer: pixels, options: [.colorSpace: NSNull()])
        }

        private static func composed(_ look: LiveLook, _ photo: CIImage, _ mask: CIImage) -> CIImage {
            let extent = photo.extent
            func plain(_ color: CIColor) -> CIImage { CIImage(color: color).cropped(to: extent) }
            switch look {
            case .overlay:
                return blended(plain(CIColor(red: 0.09, green: 0.44, blue: 0.56, alpha: 0.5)), plain(.clear), mask)
            case .cutOut: return blended(photo, plain(.clear), mask)
            case .replaced: return blended(photo, plain(.white), mask)
            case .blurred:
                let diagonal = (extent.width * extent.width + extent.height * extent.height).squareRoot()
                let sigma = Compositor.blurShare * diagonal
                let behind = photo.clampedToExtent().applyingGaussianBlur(sigma: sigma).cropped(to: extent)
                return blended(photo, behind, mask)
            case .mask: return blended(plain(.white), plain(.black), mask)
            }
        }

        /// A buffer of one component is red to Core Image, hence this filter of its three.
        private static func blended(_ front: CIImage, _ behind: CIImage, _ mask: CIImage) -> CIImage {
            front.applyingFilter(
                "CIBlendWithRedMask",
                parameters: [kCIInputBackgroundImageKey: behind, kCIInputMaskImageKey: mask])
        }
    }

    extension CGRect {
        fileprivate init(_ box: UpwardBox) { self.init(x: box.x, y: box.y, width: box.width, height: box.height) }
    }

    extension CGAffineTransform {
        fileprivate init(_ map: UpwardMap) {
            self.init(
                a: CGFloat(map.scaleX), b: 0, c: 0, d: CGFloat(map.scaleY), tx: CGFloat(map.offsetX),
                ty: CGFloat(map.offsetY))
        }
    }
#endif
