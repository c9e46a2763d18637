import PortraitKit
import SwiftUI

/// Whether the accelerators compute what the CPU does, and the way back to the toolkit.
struct CheckScreen: View {
    let packages: PackageModel
    @State private var model = CheckModel()

    var body: some View {
        ScrollView {
            VStack(alignment: .leading) {
                PackagePicker(packages: packages)
                Button("Compare with the CPU") { Task { await model.check(packages) } }.disabled(model.isBusy)
                if let check = model.check { result(check) }
                Button("Write a parity bundle") { Task { await model.export(packages) } }.disabled(model.isBusy)
                if let bundle = model.bundle {
                    Text("Judge it with `portrait-export parity PACKAGE --model MODEL --from-device BUNDLE`.")
                    ShareLink(item: bundle)
                }
                if model.isBusy { ProgressView() }
                if let problem = model.problem { Text(verbatim: problem).foregroundStyle(Color.red) }
                Text("Frames and photos are segmented on this device. They do not leave it unless you share a bundle.")
                    .font(.caption)
            }
            .padding()
        }
    }

    private func result(_ check: SelfCheck) -> some View {
        VStack(alignment: .leading) {
            Text(verbatim: "\(check.candidate) – \(check.reference)").font(.headline)
            if check.passed {
                Label("The masks agree.", systemImage: "checkmark.circle")
            } else {
                Label("The masks differ. Do not use these compute units.", systemImage: "xmark.octagon")
            }
            ForEach(check.rows) { row in
                Text(verbatim: "\(row.name): IoU \(String(format: "%.5f", row.iou))").font(.caption.monospacedDigit())
            }
        }
    }
}
