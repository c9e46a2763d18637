import CoreGraphics
import PortraitKit
import SwiftUI

/// Shows a picture as large as there is room.
struct PictureView: View {
    let picture: Picture
    let label: LocalizedStringKey

    var body: some View {
        if let image = picture.cgImage {
            Image(image, scale: 1, label: Text(label)).resizable().scaledToFit()
        } else {
            Text("This picture cannot be shown.")
        }
    }
}

extension Picture {
    /// The picture for Core Graphics: gray, RGB, or RGB with straight alpha.
    var cgImage: CGImage? {
        guard let provider = CGDataProvider(data: Data(samples) as CFData),
            let space = channels == 1
                ? CGColorSpace(name: CGColorSpace.genericGrayGamma2_2) : CGColorSpace(name: CGColorSpace.sRGB)
        else { return nil }
        let alpha: CGImageAlphaInfo = channels == 4 ? .last : .none
        return CGImage(
            width: size.width, height: size.height, bitsPerComponent: 8, bitsPerPixel: 8 * channels,
            bytesPerRow: size.width * channels, space: space, bitmapInfo: CGBitmapInfo(rawValue: alpha.rawValue),
            provider: provider, decode: nil, shouldInterpolate: true, intent: .defaultIntent)
    }
}
