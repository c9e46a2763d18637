import Foundation
import PhotosUI
import PortraitKit
import SwiftUI

/// A photograph cut out by the package, beside what Apple's person segmentation makes of it.
struct PhotoScreen: View {
    let packages: PackageModel
    @State private var model = PhotoModel()
    @State private var picked: PhotosPickerItem?

    var body: some View {
        ScrollView {
            VStack(alignment: .leading) {
                PhotosPicker("Choose a photo", selection: $picked, matching: .images)
                Picker("Photos in the app", selection: bundled) {
                    ForEach(packages.photos, id: \.self) { path in
                        Text(verbatim: URL(fileURLWithPath: path).lastPathComponent).tag(path)
                    }
                }
                LookPicker(look: $model.look)
                Toggle("Follow edges", isOn: $model.refines)
                if let comparison = model.comparison {
                    Text("This package")
                    PictureView(picture: comparison.ours, label: "The photo by this package")
                    if let apples = comparison.apples, let iou = comparison.iou {
                        Text("Apple's person segmentation, mask IoU \(String(format: "%.4f", iou))")
                        PictureView(picture: apples, label: "The photo by Apple's person segmentation")
                    }
                    if let note = comparison.note { Text(verbatim: note).font(.caption) }
                }
                if let problem = model.problem { Text(verbatim: problem).foregroundStyle(Color.red) }
                PackagePicker(packages: packages)
            }
            .padding()
        }
        .task(id: picked) {
            guard let data = try? await picked?.loadTransferable(type: Data.self) else { return }
            await model.open(data: data)
            await show()
        }
        .task(id: "\(model.look) \(model.refines) \(packages.engine?.description.runtime ?? "")") { await show() }
    }

    private var bundled: Binding<String> {
        Binding(
            get: { @MainActor in "" },
            set: { @MainActor path in
                Task {
                    await model.open(path: path)
                    await show()
                }
            })
    }

    private func show() async {
        if let engine = packages.engine { await model.show(with: engine) }
    }
}
