import PortraitCoreML
import PortraitKit
import SwiftUI

/// What the screens make of a mask.
enum ShownLook: String, CaseIterable, Identifiable {
    case overlay, cutOut, replaced, blurred, mask

    var id: String { rawValue }

    /// What the GPU draws.
    var live: LiveLook {
        switch self {
        case .overlay: return .overlay
        case .cutOut: return .cutOut
        case .replaced: return .replaced
        case .blurred: return .blurred
        case .mask: return .mask
        }
    }

    /// The picture to show.
    func picture(_ photo: Picture, _ mask: Plane) throws(PortraitError) -> Picture {
        let compositor = try Compositor(photo: photo, mask: mask)
        switch self {
        case .overlay: return try compositor.picture(.tinted(red: 23, green: 112, blue: 143, opacity: 0.5))
        case .cutOut: return try compositor.picture(.cutOut)
        case .replaced: return try compositor.picture(.replaced(.white))
        case .blurred: return try compositor.picture(.blurred(sigma: nil))
        case .mask: return try compositor.picture(.mask)
        }
    }
}

/// Chooses a look.
struct LookPicker: View {
    @Binding var look: ShownLook

    var body: some View {
        Picker("Look", selection: $look) {
            Text("Overlay").tag(ShownLook.overlay)
            Text("Cut-out").tag(ShownLook.cutOut)
            Text("White background").tag(ShownLook.replaced)
            Text("Blurred background").tag(ShownLook.blurred)
            Text("Mask").tag(ShownLook.mask)
        }
    }
}
